"""The process that loads torch and runs the model."""

"""From result files to tables, plots and pages."""

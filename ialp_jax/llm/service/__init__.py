"""The process that alone loads torch, its clients, and what it would cost."""

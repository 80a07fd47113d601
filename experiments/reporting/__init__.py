"""Makes tables, plots and pages from result files."""

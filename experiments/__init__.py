"""Runs, reports and benchmarks on top of ialp_jax."""

"""Policies: what each learns from, and how it acts. The loop is in `ialp_jax.training`."""

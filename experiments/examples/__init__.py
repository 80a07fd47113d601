"""Examples of other libraries' agents in the worlds of ialp_jax."""

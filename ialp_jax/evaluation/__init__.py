"""Metrics of learning curves and their statistics.

- `ialp_jax.evaluation.metrics`: what is computed from whole sessions, and from a curve of them.
- `ialp_jax.evaluation.statistics`: means and interquartile means over seeds, with bootstrap intervals.
- `ialp_jax.labelling.audit`: whether labels prefer what held-out users really took.
- `ialp_jax.evaluation.sanity`: what a world must fulfil to judge policies.
"""

"""Metrics of learning curves and their statistics.

- `ialp_jax.evaluation.metrics`: numbers that summarise a learning curve.
- `ialp_jax.evaluation.statistics`: means and interquartile means over seeds, with bootstrap intervals.
- `ialp_jax.evaluation.references`: returns of random, popular and the oracle.
- `ialp_jax.evaluation.sanity`: conditions under which a world can compare policies.
- `ialp_jax.labelling.audit`: whether labels prefer the items that held-out users took.
"""

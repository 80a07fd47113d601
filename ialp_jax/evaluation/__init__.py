"""Metrics of learning curves and their statistics.

- `ialp_jax.evaluation.metrics`: metrics that summarise a learning curve.
- `ialp_jax.evaluation.statistics`: means and interquartile means over seeds, with bootstrap intervals.
- `ialp_jax.evaluation.references`: returns of the reference policies random, popular and oracle.
- `ialp_jax.evaluation.sanity`: conditions that a world must meet for comparing policies.
- `ialp_jax.labelling.audit`: whether labels prefer the items that users really took.
"""

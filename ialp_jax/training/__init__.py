"""The loop between agents and users, offline and online.

- `ialp_jax.training.pretrain`: offline training on labels or logs.
- `ialp_jax.training.adapt`: online training of any agent in any environment, all seeds at once.
- `ialp_jax.training.rollout`: what both are made of.
"""

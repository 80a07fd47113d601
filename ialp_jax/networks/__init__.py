"""State encoder and heads, as pure functions over parameter trees.

- `ialp_jax.networks.sasrec`: histories [..., L] -> states [..., D].
- `ialp_jax.networks.heads`: actor, critic, Q values and scores of all N items, computed from a state.
"""

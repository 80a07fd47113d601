"""iALP in JAX: LLM-distilled recommender policies, pre-trained offline and adapted online.

    import jax
    import ialp_jax.simulator

    env, params = ialp_jax.simulator.make("demo", preset="hard", split="online", cache="worlds")
    key = jax.random.key(0)
    observation, state = env.reset(key, params)
    observation, state, reward, terminated, truncated, info = env.step(key, state, 7, params)  # item 8

- `ialp_jax.data`: loads published data sets, your own tables or a generated world.
- `ialp_jax.simulator`: simulated users, fitted to data and validated; a gymnax environment; adapters for
  other libraries.
- `ialp_jax.llm`: a causal language model that answers prompts; the only part that uses torch.
- `ialp_jax.networks`: SASRec and the heads of actor and critic.
- `ialp_jax.agents`: the agents; each consists of three pure functions, see `ialp_jax.agents.base`.
- `ialp_jax.training`: offline and online training.
- `ialp_jax.labelling`: imagined sessions, labellers, the label loop, the store and the audit of labels.
- `ialp_jax.evaluation`: metrics of learning curves, and confidence intervals.
- `ialp_jax.types`: glossary, dimension letters, and the arrays that these packages exchange.

Importing ``ialp_jax`` imports none of these packages. Errors that a user can mend are
`ialp_jax.errors.InputError`. The package ``experiments`` is a separate program, which runs all steps from raw
data to a report.
"""

__version__ = "0.1.0"

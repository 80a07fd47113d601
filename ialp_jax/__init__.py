"""iALP in JAX: LLM-distilled recommender policies, pre-trained offline and adapted online.

    import jax
    import ialp_jax.simulator

    env, params = ialp_jax.simulator.make("demo", preset="hard", split="online", cache="worlds")
    key = jax.random.key(0)
    observation, state = env.reset(key, params)
    observation, state, reward, terminated, truncated, info = env.step(key, state, 7, params)  # item 8

- `ialp_jax.data`: published data sets, one's own tables, a generated world -> interactions and catalogue.
- `ialp_jax.simulator`: simulated users, fitted and validated; sessions as a gymnax environment; adapters.
- `ialp_jax.llm`: a causal language model that answers prompts; the only part that uses torch.
- `ialp_jax.networks`: SASRec and the heads of actor and critic.
- `ialp_jax.agents`: the methods, each three pure functions, see `ialp_jax.agents.base`.
- `ialp_jax.training`: offline and online training.
- `ialp_jax.labelling`: imagined sessions, labellers, the label loop, the store and the audit of labels.
- `ialp_jax.evaluation`: metrics of learning curves, their intervals.
- `ialp_jax.types`: the arrays that go from one to the other, and the letters of their dimensions.

Importing this package imports none of them. Errors that a user can mend are `ialp_jax.errors.InputError`. The
experiments, from raw data to a report, are a separate program beside this package.
"""

__version__ = "0.1.0"

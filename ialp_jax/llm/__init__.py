"""Preference labels from a causal language model; torch lives in the worker process alone.

- `ialp_jax.labelling.client`: ``LabelWorker`` labels prompts, in a process of its own.
- `ialp_jax.llm.config`: the model, the way of asking, the tuning.
- `ialp_jax.labelling.inspect`: reads and verifies stored labels on the command line.
"""

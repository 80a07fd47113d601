"""Fine-tuning of the LLM by LoRA on what offline users liked next.

- `training_prompts`: draws prompts whose right answer is known;
- `fine_tuning`: the loss, the steps, the measurement before and after.

The adapter itself, its file format and how it acts on a model: `ialp_jax.llm.model.adapters`.
"""

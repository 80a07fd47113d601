"""Fine-tuning of the LLM by LoRA on what offline users liked next; it needs the extra ``llm``.

- `training_prompts`: draws prompts whose right answer is known;
- `fine_tuning`: the loss, the steps, the measurement before and after.

The adapter itself, its file format and how it acts on a model: `ialp_jax.llm.model.adapters`.
"""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "peft")

"""Fine-tuning of the LLM by LoRA on the next likes of offline users; needs the extra ``llm``.

- `training_prompts`: draws prompts with known answers;
- `fine_tuning`: the loss, the training steps, and the accuracy before and after training.

`ialp_jax.llm.model.adapters` adds adapters to a model, and saves and loads them.
"""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "peft")

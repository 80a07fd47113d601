"""Fine-tuning by LoRA on what offline users liked next; it needs the extra ``llm``."""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "peft")

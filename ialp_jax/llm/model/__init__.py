"""The causal language model: its files, loading, adapters, memory; and the small one that is trained here.

Importing this package without the extra ``llm`` raises one line that says how to install it.
"""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "transformers", "tokenizers", "safetensors", "peft", "psutil")

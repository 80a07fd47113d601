"""A causal language model on disk and in memory.

- `scorer`: the loaded model that is asked; `self_check`: compares its fast way with the model's own;
- `model_files`, `loading`, `weights`: found, loaded, checked; `memory`, `speed`: whether it fits, how fast;
- `adapter_files`, `adapters`: LoRA adapters on disk and on a model;
- `embedded`, `corpus`, `muon`, `torch_checkpoint`: the small Mistral that is trained if none is given.

Importing this package without the extra ``llm`` raises one line that says how to install it.
"""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "transformers", "tokenizers", "safetensors", "peft", "psutil")

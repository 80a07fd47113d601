"""A causal language model on disk and in memory.

- `scorer`: the loaded model that answers; `self_check`: compares fast scoring with the plain forward pass;
- `model_files`, `loading`, `weights`: find, load and check a model; `memory`, `speed`: memory and speed;
- `adapter_files`, `adapters`: LoRA adapters, as files and on a loaded model;
- `embedded`, `corpus`, `muon`, `torch_checkpoint`: the small Mistral that is trained if no model is given.

If the extra ``llm`` is not installed, importing this package raises an InputError. The error message says how
to install the extra.
"""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "transformers", "tokenizers", "safetensors", "peft", "psutil")

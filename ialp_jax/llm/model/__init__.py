"""A causal language model on disk and in memory.

- `scorer`: the loaded model that answers; `self_check`: compares its fast method with the plain forward pass;
- `model_files`, `loading`, `weights`: find, load and check a model; `memory`, `speed`: memory and speed;
- `adapter_files`, `adapters`: LoRA adapters on disk and on a model;
- `embedded`, `corpus`, `muon`, `torch_checkpoint`: the small Mistral that is trained if no model is given.

If the extra ``llm`` is missing, importing this package raises one line that says how to install it.
"""

from ialp_jax.errors import require

require(__name__, "llm", "torch", "transformers", "tokenizers", "safetensors", "peft", "psutil")

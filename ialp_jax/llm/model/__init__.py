"""A causal language model in memory. `ialp_jax.llm.model_files` and `adapter_files` find and check its files.

- `scorer`: the loaded model that answers; `self_check`: compares its fast method with the plain forward pass;
- `loading`, `weights`: load and check a model; `memory`, `speed`: memory and speed;
- `adapters`: a LoRA adapter on a model;
- `embedded`, `corpus`, `muon`, `torch_checkpoint`: the small Mistral that is trained if no model is given.

If the extra ``llm`` is missing, importing this package raises one line that says how to install it.
"""

from ialp_jax.llm import require_packages

require_packages(__name__)

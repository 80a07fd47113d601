"""A causal language model in memory. `ialp_jax.llm.model_files` and `adapter_files` find and check its files.

- `scorer`: the loaded model that answers; `self_check`: compares fast scoring with the plain forward pass;
- `loading`, `weights`: load and check a model; `memory`, `speed`: memory and speed;
- `adapters`: a LoRA adapter on a model;
- `embedded`, `corpus`, `muon`, `torch_checkpoint`: the small Mistral that is trained if no model is given.

If the extra ``llm`` is not installed, importing this package raises an InputError. The error message says how
to install the extra.
"""

from ialp_jax.llm import require_packages

require_packages(__name__)

"""A causal language model as a source of labels. Only worker processes load torch.

An order with prompts takes this path until the reply goes back to the client:

1. ``worker/worker.py``: the worker process reads the order (message format: ``worker/protocol.py``);
2. ``engines/``: the configured engine gets the prompts, ``transformers_engine.py`` by default;
3. ``model/scorer.py``: the loaded model answers the prompts with the settings from ``config.py``;
4. ``prompting/``: titles and templates become token rows (``templates.py``, ``letters.py``, ``tokens.py``);
5. ``modes/``: ``likelihood.py``, ``choice.py`` or ``generate.py`` asks the model; the last two use
   ``asker.py``;
6. ``modes/answers.py``: the answers get the same form in all modes and go back to the client.

``lora/`` fine-tunes the model. ``model/embedded.py`` trains the small Mistral that is used if no model is
given. `model_files.py` and `adapter_files.py` find and check files of models and need no torch.
`ialp_jax.labelling` is the client: it turns answers into labels.
"""

from ialp_jax.errors import require


def require_packages(user: str) -> None:
    """Raises InputError if a package of the extra ``llm`` is missing; ``user`` needs it. Imports nothing."""
    require(user, "llm", "torch", "transformers", "tokenizers", "safetensors", "peft", "psutil")

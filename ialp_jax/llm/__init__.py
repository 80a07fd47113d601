"""A causal language model as label source; only the worker process loads torch.

The way of an answer, from the order to the client's reply:

1. ``worker/worker.py``: the process reads an order with prompts (frames: ``worker/protocol.py``);
2. ``engines/``: the configured engine gets the prompts, ``transformers_engine.py`` by default;
3. ``model/scorer.py``: the loaded model, which asks as ``config.py`` says;
4. ``prompting/``: titles and templates become token rows (``templates.py``, ``letters.py``, ``tokens.py``);
5. ``modes/``: ``likelihood.py``, ``choice.py`` or ``generate.py`` runs them; letters by ``asker.py``;
6. ``modes/answers.py``: the answers of all modes have one form, and go back to the client.

``lora/`` fine-tunes the model; ``model/embedded.py`` trains the small Mistral that is used if none is given.
`ialp_jax.labelling` is the client: it turns answers into labels.
"""

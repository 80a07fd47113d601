"""Turns prompts into labels, and measures the quality of labels.

The steps from a proposal to a label:

1. proposal: the actor draws K candidates for each imagined session (``rounds.py`` calls ``imagine.py``);
   if the settings say so, popular and uniformly drawn items replace some of them (``mix.py``);
2. prompt: histories and candidates become `ialp_jax.types.Prompts` for a labeller (``labeller.py``);
3. store: ``llm_labeller.py`` looks up stored answers (``label_store.py``; ``shards.py`` reads the disk);
4. worker: all other prompts go to the worker process (``worker_process.py``, `ialp_jax.llm.worker.worker`);
5. engine: the worker's engine runs the loaded model (`ialp_jax.llm.engines`, `ialp_jax.llm.model.scorer`);
6. mode: the engine asks the model in ``likelihood``, ``choice`` or ``generate`` (`ialp_jax.llm.modes`);
7. answer: the worker returns `ialp_jax.llm.modes.answers.Answers`, and the client stores these answers;
8. label: ``llm_labeller.py`` turns answers into labels; ``transitions.py`` turns labels into transitions.

Imagined sessions: ``drift.py`` measures in each round how far they are from people.
Baseline labellers: ``sources.py``, ``log_model.py``. Probabilities of a like: ``calibrated.py`` asks the
label sources, and ``likes.py`` fits a regression. Other clients of the worker: ``lora_client.py``,
``estimate_client.py``.
Quality of labels: ``audit.py`` measures label sources on the questions of ``audit_questions.py``;
``quality.py`` derives warnings from a manifest. Labels on disk: ``label_files.py``. Labels as text:
``inspect.py``, ``label_text.py``.
"""

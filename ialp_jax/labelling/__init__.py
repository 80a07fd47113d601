"""Turns prompts into labels, and measures the quality of labels.

The steps from a proposal to a label:

1. proposal: the actor draws K candidates for each imagined session (``imagine.py``, driven by ``rounds.py``);
2. prompt: histories and candidates become `ialp_jax.types.Prompts` for a labeller (``labeller.py``);
3. store: ``llm_labeller.py`` looks up known prompts (``label_store.py``, on disk ``shards.py``);
4. worker: all other prompts go to the worker process (``worker_process.py``, `ialp_jax.llm.worker.worker`);
5. engine: the worker's engine has the loaded model (`ialp_jax.llm.engines`, `ialp_jax.llm.model.scorer`);
6. mode: the engine asks the model (`ialp_jax.llm.modes`: ``likelihood``, ``choice`` or ``generate``);
7. answer: the worker returns `ialp_jax.llm.modes.answers.Answers`, and the client stores them first;
8. label: ``llm_labeller.py`` applies the rule of "none"; ``transitions.py`` turns labels into transitions.

Baseline labellers: ``sources.py``. Other clients of the worker: ``lora_client.py``, ``estimate_client.py``.
Quality of labels: ``audit.py`` with the questions of ``audit_questions.py``, and ``quality.py``, which
derives warnings from a manifest. Labels on disk: ``label_files.py``. Labels as text: ``inspect.py``,
``label_text.py``.
"""

"""From prompts to labels, and how good the labels are.

The way of a label, step by step:

1. proposal: the actor draws K candidates for each imagined session (``imagine.py``, driven by ``rounds.py``);
2. prompt: histories and candidates become `ialp_jax.types.Prompts` for a labeller (``labeller.py``);
3. store: ``llm_labeller.py`` looks up known prompts (``label_store.py``, on disk ``shards.py``);
4. worker: the others go to the worker process (``worker_process.py``, `ialp_jax.llm.worker.worker`);
5. engine: the worker's engine has the loaded model (`ialp_jax.llm.engines`, `ialp_jax.llm.model.scorer`);
6. mode: the model is asked (`ialp_jax.llm.modes`: ``likelihood``, ``choice`` or ``generate``);
7. answer: it comes back (`ialp_jax.llm.modes.answers`), and is stored before it is used;
8. label: ``llm_labeller.py`` applies the rule of "none"; ``transitions.py`` makes experience of the labels.

Rules that label in place of the LLM: ``sources.py``. Other clients of the worker: ``lora_client.py``,
``estimate_client.py``. Quality: ``audit.py`` (asks ``audit_questions.py``) and ``quality.py`` (cautions from
a manifest). A run's labels on disk: ``label_files.py``; as text: ``inspect.py``, ``label_text.py``.
"""

"""The tune stage's side: has the worker tune the configured model by LoRA."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ialp_jax import store
from ialp_jax.labelling.client import LabelWorker
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import prompts

IRRELEVANT = ("save_every",)  # settings of the tuning that do not change its result


class Tuner(LabelWorker):
    """Tunes instead of labelling, from the same model in the same place; use it as a context manager."""

    def tune(self, folder: Path, history_length: int, num_candidates: int) -> dict[str, Any]:
        """Tunes the model, the embedded one after training it where it is not there yet.

        A killed tuning of the same settings goes on from its last checkpoint.

        Args:
          folder: gets the adapter in peft's format.
          history_length: L of the label stage's prompts.
          num_candidates: K of them.

        Returns:
          What the manifest of the folder should say.

        Raises:
          InputError: the worker cannot work, in one line.
        """
        base, config = self.model(), self._config
        shape = {"history_length": history_length, "num_candidates": num_candidates}
        facts = [base, self._data_files, self._seed, shape, settings(config)]
        self._worker(do="tune", tune_folder=str(folder), tuning={**shape, "key": store.fingerprint(facts)})
        return {
            "model": config.model or "embedded",
            "revision": config.revision,
            "base_fingerprint": base,
            "template_sha256": self._template.digest(),
            **config.asking(),
            "tuning": self._loaded["log"],
        }


def settings(config: LLMConfig) -> dict[str, Any]:
    """The settings on which an adapter depends."""
    names = ("model", "revision", "pad_token", "device", "threads")
    template = prompts.choose(config.template, embedded=not config.model).digest()
    tune = {n: v for n, v in dataclasses.asdict(config.tune).items() if n not in IRRELEVANT}
    embedded = {} if config.model else dataclasses.asdict(config.embedded)
    parts = {"asking": config.asking(), "template": template, "tune": tune, "embedded": embedded}
    return {**{name: getattr(config, name) for name in names}, **parts}

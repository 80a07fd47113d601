"""Client of the lora stage: lets the worker fine-tune the configured model by LoRA."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ialp_jax import store
from ialp_jax.labelling.llm_client import LLMClient
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import templates

IRRELEVANT = ("save_every",)  # LoRA settings that do not change the result


class LoraClient(LLMClient):
    """Fine-tunes the model that later labels prompts. Must be used as a context manager."""

    def fine_tune(self, folder: Path, history_length: int, num_candidates: int) -> dict[str, Any]:
        """Trains an adapter. If the embedded model is configured and missing, trains it first.

        A killed fine-tuning continues from its last checkpoint if the settings are the same.

        Args:
          folder: folder for the adapter, in peft's format.
          history_length: L of the label stage's prompts.
          num_candidates: K of the label stage's prompts.

        Returns:
          The manifest for the folder. Its entry ``fine_tuning`` is the log of the training.

        Raises:
          InputError: the worker reports an error.
        """
        base, config = self.model_fingerprint(), self._config
        shape = {"history_length": history_length, "num_candidates": num_candidates}
        facts = [base, self._data_files, self._seed, shape, settings(config)]
        details = {**shape, "fingerprint": store.fingerprint(facts)}
        reply = self._order("lora", adapter_folder=str(folder), lora=details)
        return {
            "model": config.model or "embedded",
            "revision": config.revision,
            "base_fingerprint": base,
            "template_sha256": self._template.digest(),
            **config.asking(),
            "fine_tuning": reply["log"],
        }


def settings(config: LLMConfig) -> dict[str, Any]:
    """Returns the settings that determine an adapter."""
    names = ("model", "revision", "pad_token", "device", "threads")
    template = templates.choose(config.template, embedded=not config.model).digest()
    lora = {name: value for name, value in dataclasses.asdict(config.lora).items() if name not in IRRELEVANT}
    embedded = {} if config.model else dataclasses.asdict(config.embedded)
    parts = {"asking": config.asking(), "template": template, "lora": lora, "embedded": embedded}
    return {**{name: getattr(config, name) for name in names}, **parts}

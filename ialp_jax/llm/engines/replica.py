"""A model that stays loaded in a process of Ray's, one per device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts


class Replica:
    """An actor that holds a loaded model."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        shape: tuple[int, int] | None,
        wrapper: Sequence[str] | None,
    ) -> None:
        """Loads the model. What is wrong is kept for `facts`: an actor that fails to start says little."""
        import torch

        from ialp_jax.llm import engines

        self._error, self._asked = "", 0
        if config.threads:
            torch.set_num_threads(config.threads)
        try:
            self._scorer = engines.build(folder, titles, template, config, shape, wrapper)
        except InputError as error:
            self._error = str(error)

    def facts(self) -> dict[str, Any]:
        """Of the scorer, or ``error``."""
        return {"error": self._error} if self._error else self._scorer.facts()

    def order(self, prompts: Prompts) -> np.ndarray:
        """In what order the prompts fill batches, int64 [n]."""
        return self._scorer.order(prompts)

    def answer(self, prompts: Prompts, plain: bool) -> tuple[Answers, int] | tuple[str, int]:
        """As `Scorer.answer`; the message of an InputError in place of the answers."""
        self._scorer.plain = plain
        self._asked += 1
        try:
            return self._scorer.answer(prompts)
        except InputError as error:
            return str(error), 0

    def asked(self) -> int:
        """How many batches it has answered."""
        return self._asked

    def unconditional(self, plain: bool) -> np.ndarray:
        """As `Scorer.unconditional`."""
        self._scorer.plain = plain
        return self._scorer.unconditional()

    def check(self, shape: tuple[int, int]) -> bool:
        """As `Scorer.check`; returns ``plain``."""
        self._scorer.check(shape)
        return self._scorer.plain

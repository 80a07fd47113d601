"""Engines: who carries a prompt to a model and its answer back, all behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.prompts import Template


class Engine(Protocol):
    """What the worker needs of an engine; `ialp_jax.llm.model.models.Scorer` is the plain one.

    Attributes:
      plain: whether sequences are scored one by one, see `Scorer.check`.
    """

    plain: bool

    def answer(self, histories: np.ndarray, candidates: np.ndarray) -> tuple[Answers, int]:
        """Answers to n prompts, histories int32 [n, L] and candidates int32 [n, K], and the tokens spent."""

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, int]:
        """The scores float32 [n, K] alone, and the tokens spent."""

    def unconditional(self) -> np.ndarray:
        """Scores of all titles after an empty history, float32 [N + 1]; 0 for padding."""

    def check(self, shape: tuple[int, int]) -> None:
        """Sets ``plain`` if prompts of L items and K candidates can be scored exactly by no faster way."""

    def facts(self) -> dict[str, Any]:
        """On what the model runs, ``device`` and ``dtype``, and with letters how it is asked."""


def build(
    folder: Path,
    titles: Sequence[str],
    template: Template,
    config: LLMConfig,
    shape: tuple[int, int] | None = None,
    wrapper: Sequence[str] | None = None,
) -> Engine:
    """Loads a model into the configured engine.

    Args:
      folder: of the model, in the Hugging Face format.
      titles: N + 1 titles; ``titles[0]`` is padding.
      template: the text around titles.
      config: ``engine`` says which.
      shape: L and K of the prompts to come, for the memory they will need; None: not known.
      wrapper: what the chat template gave before, where prompts must remain the same.

    Raises:
      InputError: a package is missing, the model does not fit, or as the loaders say.
    """
    if config.engine == "ray":
        from ialp_jax.llm.engines.ray_engine import RayEngine

        return RayEngine(folder, titles, template, config, shape, wrapper)
    if config.engine == "vllm":
        from ialp_jax.llm.engines.vllm_engine import VLLMEngine

        return VLLMEngine(folder, titles, template, config, wrapper)
    from ialp_jax.llm.model import memory, models

    memory.require(folder, titles, template, config, shape)
    return models.Scorer(folder, titles, template, config, wrapper)

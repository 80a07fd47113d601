"""Engines run a loaded model. `Engine` is the interface that the worker uses.

- ``transformers``: `ialp_jax.llm.engines.transformers_engine`, on one device;
- ``ray``: `ialp_jax.llm.engines.ray_engine`, on several devices or machines;
- ``vllm``: `ialp_jax.llm.engines.vllm_engine`, if vLLM is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts


class Engine(Protocol):
    """The interface of an engine.

    Attributes:
      plain: whether the engine scores only one sequence per forward pass, see `check`.
    """

    plain: bool

    def order(self, prompts: Prompts) -> np.ndarray:
        """Returns the order in which batches take the n prompts, int64 [n]."""

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Returns the answers to n prompts, and the number of tokens that the model read."""

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Returns only the scores of the answers, float32 [n, K], and the number of tokens read."""

    def unconditional(self) -> np.ndarray:
        """Returns the scores of all titles after an empty history, float32 [N + 1]; 0 for padding."""

    def check(self, shape: tuple[int, int]) -> None:
        """Tests the fast method on prompts of L items and K candidates. If not exact, sets ``plain``."""

    def facts(self) -> dict[str, Any]:
        """Returns ``device`` and ``dtype`` of the model. In lettered modes, also returns prompt settings."""


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
      folder: folder of the model, in the Hugging Face format.
      titles: N + 1 titles; ``titles[0]`` is padding and empty.
      template: the text around titles.
      config: ``config.engine`` names the engine.
      shape: L and K of the later prompts, to estimate the memory that they need; None: unknown.
      wrapper: chat wrapper of an earlier run, if prompts must stay the same.

    Raises:
      InputError: a package is missing, or the model cannot be loaded or does not fit into memory.
    """
    if config.engine == "ray":
        from ialp_jax.llm.engines.ray_engine import RayEngine

        return RayEngine(folder, titles, template, config, shape, wrapper)
    if config.engine == "vllm":
        from ialp_jax.llm.engines.vllm_engine import VLLMEngine

        return VLLMEngine(folder, titles, template, config, wrapper)
    from ialp_jax.llm.engines.transformers_engine import TransformersEngine
    from ialp_jax.llm.model import loading, memory

    device, _ = loading.place(config.device, config.dtype)
    if config.workers and device != "cpu":
        raise InputError(
            f"--config.llm.workers={config.workers}: without Ray, workers run on a CPU only; use "
            "--config.llm.device=cpu or --config.llm.engine=ray"
        )
    memory.require(folder, titles, template, config, shape)
    return TransformersEngine(folder, titles, template, config, wrapper)

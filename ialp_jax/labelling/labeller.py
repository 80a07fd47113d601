"""The interface of labellers, which the LLM and the baseline rules implement."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from ialp_jax.types import Labels, Prompts


class Labeller(Protocol):
    """Turns prompts into labels; used as a context manager.

    `ialp_jax.labelling.calibrated.Calibrated` joins label sources, see `LabelSource`.
    """

    def __enter__(self) -> Self:
        """Raises InputError if the labeller cannot work, for example because a model is missing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Frees the resources of the labeller."""

    def label(self, prompts: Prompts) -> Labels:
        """Labels P prompts. Raises InputError if the labeller cannot work."""

    def require_valid(self) -> None:
        """Raises InputError if there are answers, but all of them are invalid."""

    def manifest(self) -> dict[str, Any]:
        """Returns facts about the labels: ``model``, ``counts`` and more."""


class LabelSource(Labeller, Protocol):
    """A labeller whose scores can be calibrated.

    `ialp_jax.labelling.llm_labeller.LLMLabeller` asks the LLM. `ialp_jax.labelling.log_model.LogModel` uses a
    model of the logs. `ialp_jax.labelling.sources` has the rules.
    """

    def evidence(self, prompts: Prompts, counted: bool) -> np.ndarray:
        """Asks the source, and returns its scores on a scale that suits a logistic regression.

        Args:
          prompts: P prompts.
          counted: whether `manifest` counts these prompts.

        Returns:
          float64 [P, K]; the scores of a prompt without a valid answer are NaN.
        """

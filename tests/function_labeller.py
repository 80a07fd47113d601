"""A labeller that computes its answers with a function from the test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from ialp_jax.types import Labels, Prompts


class FunctionLabeller(AbstractContextManager):
    """Computes labels by a function of the prompts, and records the prompts.

    Attributes:
      prompts: the prompts of each request.
      calls: names of the methods that were called, in order.
    """

    def __init__(self, choose: Callable[[Prompts], np.ndarray]) -> None:
        """Takes the function that maps P prompts to choices, int [P]."""
        self._choose = choose
        self.prompts: list[Prompts] = []
        self.calls: list[str] = []

    def __exit__(self, *error: object) -> None:
        """Nothing to free."""

    def label(self, prompts: Prompts) -> Labels:
        """Returns labels with the function's choices. Lower item ids have higher scores."""
        self.prompts.append(prompts)
        self.calls.append("label")
        choice = np.asarray(self._choose(prompts), np.int32)
        return Labels(prompts.histories, prompts.candidates, choice, -prompts.candidates.astype(np.float32))

    def require_valid(self) -> None:
        """Records the call."""
        self.calls.append("require_valid")

    def manifest(self) -> dict[str, object]:
        """Describes the labeller."""
        return {"model": "a function", "counts": {}}

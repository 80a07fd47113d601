"""The interface of labellers, which the LLM and the baseline rules implement."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from ialp_jax.types import Labels, Prompts


class Labeller(Protocol):
    """Turns prompts into labels; used as a context manager.

    `ialp_jax.labelling.llm_labeller.LLMLabeller` asks the LLM; `ialp_jax.labelling.sources` has the rules.
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

"""The protocol of labellers, for the LLM and for the baseline rules."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from ialp_jax.types import Labels, Prompts


class Labeller(Protocol):
    """Turns prompts into labels; used as a context manager.

    `ialp_jax.labelling.llm_labeller.LLMLabeller` asks the LLM; `ialp_jax.labelling.sources` has the rules.
    """

    def __enter__(self) -> Self:
        """Checks that the labeller can work. Raises InputError if not."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Frees its resources."""

    def label(self, prompts: Prompts) -> Labels:
        """Labels P prompts. Raises InputError if the labeller cannot work."""

    def require_valid(self) -> None:
        """Raises InputError if there are answers and none of them is valid."""

    def manifest(self) -> dict[str, Any]:
        """Model, settings and number of prompts: ``model``, ``counts`` and more."""

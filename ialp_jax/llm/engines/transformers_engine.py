"""The model in this process, run by transformers on one device. Needs torch."""

from __future__ import annotations

import warnings

from ialp_jax.llm.model import self_check
from ialp_jax.llm.model.scorer import Scorer, memory_in_one_line


class TransformersEngine(Scorer):
    """A `Scorer` that checks its fast method against the model's plain forward pass before use."""

    def check(self, shape: tuple[int, int]) -> None:
        """Falls back to one sequence at a time, with a warning, if the fast method is not exact.

        Args:
          shape: L and K of the coming prompts. The check uses prompts of the greatest possible length.

        Raises:
          InputError: out of memory; or, in lettered modes, too many or too long candidates.
        """
        self.plain = False
        with memory_in_one_line(self.batch_size):
            self.plain = not self_check.is_exact(self, shape)
        if self.plain:
            name, what = type(self.model).__name__, "prompts" if self.asker else "titles"
            warnings.warn(f"{name} takes no mask per token; {what} are scored one by one", stacklevel=2)

"""Runs the model in this process, with transformers on one device. Needs torch."""

from __future__ import annotations

import warnings

from ialp_jax.llm.model import self_check
from ialp_jax.llm.model.scorer import Scorer, memory_in_one_line


class TransformersEngine(Scorer):
    """A `Scorer` that checks its fast method against the model's plain forward pass before use."""

    def check(self, shape: tuple[int, int]) -> None:
        """Tests the fast method. If it is not exact, warns and scores one sequence at a time.

        Args:
          shape: L and K of the later prompts. The test uses prompts of the greatest possible length.

        Raises:
          InputError: the memory runs out, or in lettered modes the candidates are too many or too long.
        """
        self.plain = False
        with memory_in_one_line(self.batch_size):
            self.plain = not self_check.is_exact(self, shape)
        if self.plain:
            name, what = type(self.model).__name__, "prompts" if self.asker else "titles"
            warnings.warn(f"{name} takes no mask per token; {what} are scored one by one", stacklevel=2)

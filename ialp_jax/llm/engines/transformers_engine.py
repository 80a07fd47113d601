"""The model in this process, by transformers, on one device. torch."""

from __future__ import annotations

import warnings

from ialp_jax.llm.model import self_check
from ialp_jax.llm.model.scorer import Scorer, memory_in_one_line


class TransformersEngine(Scorer):
    """A `Scorer` that compares its fast way of scoring with the model's own before it is used."""

    def check(self, shape: tuple[int, int]) -> None:
        """Falls back to one sequence at a time, with a warning, if the fast way differs from the model's own.

        Args:
          shape: L and K of the prompts to come; prompts as long as these can be are compared.

        Raises:
          InputError: out of memory; or with letters, too many candidates, or they do not fit.
        """
        self.plain = False
        with memory_in_one_line(self.batch_size):
            self.plain = not self_check.is_exact(self, shape)
        if self.plain:
            name, what = type(self.model).__name__, "prompts" if self.asker else "titles"
            warnings.warn(f"{name} takes no mask per token; {what} are scored one by one", stacklevel=2)

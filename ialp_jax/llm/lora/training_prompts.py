"""Prompts with known answers, for fine-tuning by LoRA. numpy only.

The candidates of a prompt are the user's next like and items that the user never liked. Training prompts have
the form of the label stage's prompts. Each training step has its own random generator, so its prompts do not
depend on earlier steps. Therefore a resumed fine-tuning uses the same prompts as one without interruption.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ialp_jax.errors import InputError
from ialp_jax.llm.prompting.alike import apart, different, largest
from ialp_jax.types import Dataset, Prompts

NONE = 0  # the same code for "none" as in `Labels.choice`


class TrainingPrompts(NamedTuple):
    """P prompts and their answers.

    Attributes:
      prompts: P prompts, each without repeated candidates.
      answer: int32 [P], 1..K for the user's next like, 0 for "none".
      user: int32 [P].
    """

    prompts: Prompts
    answer: np.ndarray
    user: np.ndarray

    def rows(self, index: slice) -> TrainingPrompts:
        """Selects some of the prompts."""
        return TrainingPrompts(self.prompts.rows(index), self.answer[index], self.user[index])


class PromptSampler:
    """Draws prompts about some users of a data set."""

    def __init__(
        self,
        dataset: Dataset,
        users: np.ndarray,
        *,
        history_length: int,
        num_candidates: int,
        negative_sampling: str = "uniform",
        none_share: float = 0.0,
        alike: np.ndarray | None = None,
    ) -> None:
        """Selects the users with at least two likes and enough items that they never liked.

        Args:
          dataset: data set; if its likes have no order in time, they are shuffled for each prompt.
          users: int [U'], users whose likes are used.
          history_length: L.
          num_candidates: K.
          negative_sampling: how items without a like are drawn: ``uniform`` or ``popularity``. Under
            ``popularity``, an item's probability is proportional to its likes by offline users, plus 1.
          none_share: probability that the user's next like is not among the candidates.
          alike: int32 [N + 1], see `ialp_jax.llm.prompting.alike`. No prompt has two items with the same
            words.

        Raises:
          InputError: no user qualifies.
        """
        self._dataset, self._length, self._num_candidates = dataset, history_length, num_candidates
        num_items, self._alike = dataset.catalogue.num_items, alike
        words = np.arange(num_items + 1) if alike is None else alike
        num_words = len(set(words.tolist())) - 1

        def fits(likes: np.ndarray) -> bool:
            return 2 <= len(set(words[likes].tolist())) <= num_words - num_candidates

        self.users = np.array([user for user in users if fits(dataset.histories.of(user))], np.int32)
        if not len(self.users):
            raise InputError(
                f"--config.llm.lora.negatives: no user has two likes and {num_candidates} items without a "
                f"like, of {num_items} items; use fewer negatives"
            )
        self._weight = np.ones(num_items + 1)
        if negative_sampling == "popularity":
            self._weight += dataset.popularity()
        self._none_share = none_share

    def draw(self, generator: np.random.Generator, count: int) -> TrainingPrompts:
        """Draws ``count`` prompts about random users."""
        return self.about(generator, generator.choice(self.users, count))

    def about(self, generator: np.random.Generator, users: np.ndarray) -> TrainingPrompts:
        """Draws one prompt for each of the given users, int [P]."""
        shape = (len(users), self._length)
        histories = np.zeros(shape, np.int32)
        candidates = np.zeros((len(users), self._num_candidates), np.int32)
        answer = np.zeros(len(users), np.int32)
        for p, user in enumerate(users):
            likes = self._dataset.histories.of(user)
            if not self._dataset.interactions.ordered:
                likes = generator.permutation(likes)
            place = int(generator.integers(1, len(likes)))
            before = likes[max(0, place - self._length) : place]
            before = apart(before, likes[place : place + 1], self._alike)
            histories[p, self._length - len(before) :] = before
            candidates[p] = self._never_liked(generator, likes)
            slot = int(generator.integers(self._num_candidates))
            if generator.random() >= self._none_share:
                candidates[p, slot] = likes[place]
                answer[p] = slot + 1
        return TrainingPrompts(Prompts(histories, candidates), answer, np.asarray(users, np.int32))

    def _never_liked(self, generator: np.random.Generator, likes: np.ndarray) -> np.ndarray:
        weight, count = self._weight.copy(), self._num_candidates
        weight[likes] = weight[0] = 0
        if self._alike is not None:
            weight[np.isin(self._alike, self._alike[likes])] = 0
            count = min(count * largest(self._alike), int(np.count_nonzero(weight)))
        drawn = generator.choice(len(weight), count, replace=False, p=weight / weight.sum())
        return different(drawn, self._alike)[: self._num_candidates]

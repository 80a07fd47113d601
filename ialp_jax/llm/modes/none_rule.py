"""Labels a prompt ``none`` if the gain of the best candidate is below a threshold. numpy only.

The gain of a title is its score after the history minus its score after an empty history. This gain is the
pointwise mutual information of history and title. In this difference, the effects of popularity and spelling
cancel. With the rule ``youden``, the threshold is the gain that best separates the next items of held-out
offline users from random items. The measure is Youden's J = true positive rate - false positive rate (Youden
1950, Cancer 3:32-35).
"""

from __future__ import annotations

import numpy as np

from ialp_jax import keys
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.alike import apart
from ialp_jax.types import Dataset, Prompts

NUM_PROMPTS = 1000  # Number of prompts. Both rates have a standard error of at most 1.6 %.
HISTORY_LENGTH = 10  # The longest history. The shortest has 1 item.


def draw_trial(dataset: Dataset, users: np.ndarray, seed: int, alike: np.ndarray | None = None) -> Prompts:
    """Draws prompts with two candidates: the user's own next item, and an item that the user never liked.

    The prompts are about the ``users`` with at least two likes. P = 0 if no user has two likes.

    No prompt has two items with the same words, see `ialp_jax.llm.prompting.alike`.

    If the data have an order in time, the history holds the items right before the user's next item.
    Otherwise the history follows the stored order, which is random.
    """
    generator = keys.generator(seed, "llm-none")
    with_two_likes = [user for user in users if len(dataset.histories.of(user)) >= 2]
    count = NUM_PROMPTS if with_two_likes else 0
    histories = np.zeros((count, HISTORY_LENGTH), np.int32)
    candidates = np.zeros((count, 2), np.int32)
    for p in range(count):
        likes = dataset.histories.of(with_two_likes[p % len(with_two_likes)])
        place = int(generator.integers(1, len(likes)))
        length = int(generator.integers(1, min(HISTORY_LENGTH, place) + 1))
        before = apart(likes[place - length : place], likes[place : place + 1], alike)
        histories[p, HISTORY_LENGTH - len(before) :] = before
        others = apart(np.setdiff1d(np.arange(1, dataset.catalogue.num_items + 1), likes), likes, alike)
        candidates[p] = likes[place], generator.choice(others) if len(others) else likes[place]
    return Prompts(histories, candidates)


def threshold(taken: np.ndarray, other: np.ndarray, rule: str, quantile: float) -> float | None:
    """Threshold: the label is ``none`` if the gain is lower. Returns None if labels are never ``none``.

    Args:
      taken: float [P], gains of the users' own items; non-finite ones are ignored.
      other: float [P], gains of random items; non-finite ones are ignored.
      rule: ``youden``, ``quantile`` (that quantile of ``other``) or ``never``.
      quantile: only for rule ``quantile``.
    """
    taken, other = np.sort(taken[np.isfinite(taken)]), np.sort(other[np.isfinite(other)])
    if rule == "never" or not len(taken) or not len(other):
        return None
    if rule == "quantile":
        return float(np.quantile(other, quantile))
    values = np.unique(np.concatenate([taken, other]))
    missed = np.searchsorted(taken, values) / len(taken)
    rejected = np.searchsorted(other, values) / len(other)
    return float(values[np.argmax(rejected - missed)])


def decide(answers: Answers, unconditional: np.ndarray, limit: float | None) -> np.ndarray:
    """Turns answers with title likelihoods into labels.

    Args:
      answers: answers of mode ``likelihood``.
      unconditional: float32 [P, K], scores of the same titles after an empty history.
      limit: from `threshold`.

    Returns:
      int32 [P]: the model's choice, or 0 if the gain of the chosen candidate is below the threshold.
    """
    choice = answers.choice.copy()
    if limit is not None:
        chosen = np.flatnonzero(choice > 0)
        gains = (answers.scores - unconditional)[chosen, choice[chosen] - 1]
        choice[chosen[gains < limit]] = 0
    return choice

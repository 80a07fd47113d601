"""Measures in each round how much imagined sessions differ from real users. Nothing learns from this.

A label changes the history of its session. So the histories of later prompts hold choices of the label
source, which the user may never have liked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from ialp_jax.types import Dataset, Histories, UserModel
from ialp_jax.users.predict import like_probability

CHUNK = 4096  # prompts whose like probabilities are computed at the same time


def by_round(
    arrays: Mapping[str, np.ndarray], dataset: Dataset, model: UserModel
) -> list[dict[str, float | int | None]]:
    """Facts about each round for the manifest of the labels.

    Args:
      arrays: arrays of `ialp_jax.labelling.rounds.label_rounds`, and ``user`` int32 [P], the user of each
        prompt's window.
      dataset: has the likes of these users.
      model: user model of the simulator. Label sources except ``truth`` and ``fold_in`` do not know it.

    Returns:
      The facts of each round, where a mean over nothing is None:

      - ``round`` and ``prompts``, the number of prompts;
      - ``real_likes``, the share of items in the histories that the user really liked;
      - ``prompts_without_real_likes``, the share of prompts whose history has no such item;
      - ``none`` and ``invalid``, shares of the prompts;
      - ``age``, the mean number of steps that a session has taken before the prompt;
      - ``chosen_like_probability``, ``mean_like_probability`` and ``best_like_probability``, the mean
        probability that the user likes the chosen candidate, any candidate, and the best candidate;
      - ``rank_correlation``, the mean over prompts of Spearman's correlation between the scores of the
        candidates and the probabilities that the user likes them. 1: the label source knows the user's order.
    """
    real = really_liked(arrays["histories"], arrays["user"], dataset.histories)
    items = arrays["histories"] > 0
    chances = _chances(model, arrays["user"], arrays["candidates"])
    choice = arrays["choice"]
    chosen = np.take_along_axis(chances, np.maximum(choice - 1, 0)[:, None], 1)[:, 0]
    correlation = _rank_correlations(arrays["scores"], chances)
    length = arrays["histories"].shape[1]
    age = (arrays["shown"][:, length:] > 0).sum(1)
    facts = []
    for number in np.unique(arrays["round"]):
        rows = arrays["round"] == number
        facts.append(
            {
                "round": int(number),
                "prompts": int(rows.sum()),
                "real_likes": _mean(real[rows][items[rows]]),
                "prompts_without_real_likes": _mean(~real[rows].any(1)),
                "none": _mean(choice[rows] == 0),
                "invalid": _mean(choice[rows] < 0),
                "age": _mean(age[rows]),
                "chosen_like_probability": _mean(chosen[rows & (choice > 0)]),
                "mean_like_probability": _mean(chances[rows]),
                "best_like_probability": _mean(chances[rows].max(1)),
                "rank_correlation": _mean(correlation[rows & np.isfinite(correlation)]),
            }
        )
    return facts


def really_liked(items: np.ndarray, user: np.ndarray, histories: Histories) -> np.ndarray:
    """Whether the user's log has a like of the item, bool [P, any].

    Args:
      items: int32 [P, any], 1..N; 0 is no item and was never liked.
      user: int32 [P].
      histories: likes of all users.
    """
    owner = np.repeat(np.arange(histories.num_users), np.diff(histories.offsets))
    size = int(max(items.max(initial=0), histories.items.max(initial=0))) + 1
    pairs = user[:, None].astype(np.int64) * size + items
    return np.isin(pairs, owner * size + histories.items)


def _chances(model: UserModel, user: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Probability that each user likes each of the items [P, K], float32 [P, K]."""
    parts = [slice(start, start + CHUNK) for start in range(0, len(user), CHUNK)]
    return np.concatenate(
        [np.asarray(like_probability(model, user[part, None], items[part])) for part in parts]
    )


def _rank_correlations(scores: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of two arrays [P, K]; NaN if a row has equal values only, or NaN."""
    ranks = [stats.rankdata(values, axis=1) for values in (scores, chances)]
    first, second = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    size = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.divide((first * second).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)


def _mean(values: np.ndarray) -> float | None:
    """The mean as a number for JSON; None for an empty array."""
    return float(np.mean(values, dtype=np.float64)) if values.size else None

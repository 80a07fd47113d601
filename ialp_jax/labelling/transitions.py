"""Turns stored labels into transitions, from which the actor learns."""

from __future__ import annotations

import jax
import numpy as np

from ialp_jax.labelling.imagine import chosen_column, chosen_item
from ialp_jax.training.offline import appended
from ialp_jax.types import Labels, Observation, Transition


def labelled_transitions(arrays: dict[str, np.ndarray]) -> tuple[Transition, np.ndarray]:
    """Turns stored labels into transitions.

    The reward is 1 for a chosen candidate and 0 for "none". ``extras`` has, for the M valid labels:

    - ``candidate_actions`` int32 [M, K], and ``label_scores`` float32 [M, K], the scores of the candidates;
    - ``mean_scores`` float32 [M, K], for each candidate the mean score of this item in all valid labels;
    - ``label_weight`` float32 [M], the probability that the answer is a candidate and not "none";
    - ``label_reward`` float32 [M], the probability that the user likes the item of the action.

    The last two are 0 or 1, except if the label source gives probabilities.

    Args:
      arrays: arrays of `ialp_jax.labelling.rounds`, all rounds concatenated. If the label source gives
        probabilities, ``probability`` float32 [P, K] is the probability that the user likes each candidate.

    Returns:
      Transition [M] of the M valid labels, and their row numbers in ``arrays``, int64 [M].
    """
    rows = np.flatnonzero(arrays["choice"] >= 0)
    labels = Labels(*(arrays[name][rows] for name in Labels._fields))
    item, liked = chosen_item(labels)
    shown, length = arrays["shown"][rows], labels.histories.shape[1]
    next_shown = shown.copy()
    next_shown[np.arange(len(rows)), length + (shown[:, length:] > 0).sum(1)] = item
    reward = liked.astype(np.float32)
    weight = expected = reward
    if "probability" in arrays:
        probability = arrays["probability"][rows]
        weight, expected = probability.max(1), chosen_column(labels, probability)
    next_history = np.where(liked[:, None], appended(labels.histories, item), labels.histories)
    transitions = Transition(
        observation=Observation(labels.histories, shown),
        action=item - 1,
        reward=reward,
        terminated=arrays["terminated"][rows],
        truncated=arrays["truncated"][rows],
        next_observation=Observation(next_history.astype(np.int32), next_shown),
        extras={
            "candidate_actions": labels.candidates - 1,
            "label_scores": labels.scores,
            "mean_scores": _mean_scores(labels),
            "label_weight": weight,
            "label_reward": expected,
        },
    )
    return transitions, rows


def _mean_scores(labels: Labels) -> np.ndarray:
    """For each candidate, the mean of its item's finite scores in all M labels, float32 [M, K]."""
    finite = np.isfinite(labels.scores)
    item, score = labels.candidates[finite], labels.scores[finite].astype(np.float64)
    size = labels.candidates.max(initial=0) + 1
    total, number = np.bincount(item, score, size), np.bincount(item, minlength=size)
    return (total / np.maximum(number, 1))[labels.candidates].astype(np.float32)


def training_data(arrays: dict[str, np.ndarray], total: int) -> tuple[Transition, int]:
    """Pads labelled transitions to a fixed size, so that JAX does not compile again after each round.

    Args:
      arrays: arrays of the rounds so far.
      total: number of rows after padding, at least the number of rows in ``arrays``.

    Returns:
      Transition [total], with the valid transitions first and zeros after them, and the number of valid
      transitions.
    """
    transitions, rows = labelled_transitions(arrays)

    def pad(leaf: np.ndarray) -> np.ndarray:
        return np.pad(leaf, [(0, total - len(rows)), *[(0, 0)] * (leaf.ndim - 1)])

    return jax.tree.map(pad, transitions), len(rows)


def rounds_until(arrays: dict[str, np.ndarray], number: int) -> int:
    """Number of valid labels in the rounds 0..number."""
    return int(np.sum((arrays["round"] <= number) & (arrays["choice"] >= 0)))

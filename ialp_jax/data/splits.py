"""Splits users, and cuts their likes into histories, training windows and starting histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.types import OFFLINE, SPLITS, Dataset, Histories, Interactions


class Windows(NamedTuple):
    """W training examples. Each has likes of one user as input and the user's next like as target.

    Attributes:
      history: int32 [W, L], the likes before the target, oldest first, left-padded with 0.
      target: int32 [W], the next like, 1..N.
      user: int32 [W].
    """

    history: np.ndarray
    target: np.ndarray
    user: np.ndarray


def split_users(num_users: int, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Draws a split for every user.

    Args:
      num_users: U.
      fractions: shares of the users, in the order of ``types.SPLITS``; they sum to 1.
      seed: the same seed gives the same split.

    Returns:
      int8 [U], the split of each user. The sizes of the splits differ from ``fractions * U`` by at most 1.

    Raises:
      InputError: a split would be empty.
    """
    bounds = np.round(np.cumsum([0.0, *fractions]) * num_users).astype(np.int64)
    for name, size in zip(SPLITS, np.diff(bounds), strict=True):
        if size < 1:
            remedy = "enlarge it"
            if num_users < len(SPLITS):
                remedy = (
                    f"{len(SPLITS)} splits need at least {len(SPLITS)} users: look at the users of the "
                    "interactions, --config.data.min_likes and .like_at"
                )
            raise InputError(
                f"--config.data.{name}: this split is empty (users in all: {num_users}); {remedy}"
            )
    split = np.empty(num_users, np.int8)
    split[keys.generator(seed, "split").permutation(num_users)] = np.repeat(
        np.arange(len(SPLITS)), np.diff(bounds)
    )
    return split


def histories(interactions: Interactions, num_users: int, seed: int) -> Histories:
    """Collects the likes of each user.

    Args:
      interactions: M rows grouped by user.
      num_users: U.
      seed: seed of a random order of each user's likes, used if the data has no order of time.
    """
    user, item = interactions.user[interactions.like], interactions.item[interactions.like]
    if not interactions.ordered:
        chance = keys.generator(seed, "order").random(len(user))
        item = item[np.lexsort((chance, user))]
    counts = np.bincount(user, minlength=num_users)
    return Histories(item.astype(np.int32), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _last(items: np.ndarray, begin: np.ndarray, end: np.ndarray, length: int) -> np.ndarray:
    """Returns the last ``length`` items of ``items[begin:end]`` for each row, int32 [rows, length].

    Rows are left-padded with 0. The function masks positions before ``begin``. Without the mask, the slice
    ``items[end - length:end]`` would include likes of the previous user. For the first user, the slice would
    be empty, because its start is negative.
    """
    place = end[:, None] - length + np.arange(length)
    return np.where(place >= begin[:, None], items[np.maximum(place, 0)], 0).astype(np.int32)


def windows(histories: Histories, users: np.ndarray, length: int) -> Windows:
    """Returns each like of these users, except their first, together with the ``length`` likes before it.

    Args:
      histories: histories of all users.
      users: int [V], the users whose likes are used.
      length: L.

    Returns:
      W rows, sorted by the order of ``users`` and then by time. A user with n likes has n - 1 rows: the first
      like is never a target, because no like precedes it.
    """
    users = np.asarray(users, np.int64)
    begin, end = histories.offsets[users], histories.offsets[users + 1]
    targets = np.maximum(end - begin - 1, 0)
    row = np.repeat(np.arange(len(users)), targets)
    first = np.concatenate([[0], np.cumsum(targets)])[:-1]
    place = begin[row] + 1 + np.arange(len(row)) - first[row]
    history = _last(histories.items, begin[row], place, length)
    return Windows(history, histories.items[place].astype(np.int32), users[row].astype(np.int32))


def start_histories(histories: Histories, length: int) -> np.ndarray:
    """Returns the history with which each user's sessions start, int32 [U, L], left-padded with 0.

    It holds the first ``min(length, n // 2)`` of a user's n likes, at least 1. The agent can still discover
    the other likes.
    """
    begin = histories.offsets[:-1]
    likes = np.diff(histories.offsets)
    known = np.minimum(np.maximum(np.minimum(length, likes // 2), 1), likes)
    return _last(histories.items, begin, begin + known, length)


def split_offline(dataset: Dataset, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits offline users into training and held-out users, int32, ascending; neither is empty."""
    users = dataset.users(OFFLINE)
    order = keys.generator(seed, "llm-holdout").permutation(users)
    count = min(max(1, round(holdout * len(users))), len(users) - 1)
    return np.sort(order[count:]), np.sort(order[:count])

"""The logs of offline users as training data: windows and transitions."""

from __future__ import annotations

import numpy as np

from ialp_jax import keys
from ialp_jax.data.splits import Windows, windows
from ialp_jax.types import OFFLINE, Dataset, Histories, Observation, Transition


def offline_windows(dataset: Dataset, length: int, seed: int, copies: int = 4) -> Windows:
    """Returns every like of the offline users as a target, with the user's earlier likes as history.

    Args:
      dataset: only its offline users are read.
      length: L.
      seed: seed of the random orders.
      copies: number of random orders of each user's likes, if the data set has no order in time.

    Returns:
      W rows: history int32 [W, L], target int32 [W], user int32 [W].
    """
    users = dataset.users(OFFLINE)
    if dataset.interactions.ordered:
        return windows(dataset.histories, users, length)
    parts = [
        windows(_shuffled(dataset.histories, keys.generator(seed, "offline_order", copy)), users, length)
        for copy in range(copies)
    ]
    return Windows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _shuffled(histories: Histories, random: np.random.Generator) -> Histories:
    """Shuffles the likes of each user."""
    owner = np.repeat(np.arange(histories.num_users), np.diff(histories.offsets))
    return histories._replace(items=histories.items[np.lexsort((random.random(len(owner)), owner))])


def appended(history: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Appends a like [M] to each history [M, L] and drops the oldest entry."""
    return np.concatenate([history[:, 1:], item[:, None]], 1).astype(np.int32)


def logged_transitions(logged: Windows, horizon: int) -> Transition:
    """Turns logs into transitions: every logged like counts as a recommended item with reward 1.

    Args:
      logged: W windows, in order of time within a user.
      horizon: H; ``shown`` has L + H columns.

    Returns:
      Transition [W]; the session terminates at a user's last like.
    """
    count, length = logged.history.shape
    shown = np.zeros((count, length + horizon), np.int32)
    shown[:, :length] = logged.history
    next_shown = shown.copy()
    next_shown[:, length] = logged.target
    # The rows of a user are adjacent. If a history is shorter than in the row before, the next random order
    # of the same user begins.
    filled = (logged.history > 0).sum(1)
    same = (logged.user[1:] == logged.user[:-1]) & (filled[1:] >= filled[:-1])
    terminated = ~np.append(same, False)
    return Transition(
        observation=Observation(logged.history, shown),
        action=logged.target - 1,
        reward=np.ones(count, np.float32),
        terminated=terminated,
        truncated=np.zeros(count, bool),
        next_observation=Observation(appended(logged.history, logged.target), next_shown),
        extras={},
    )


def training_sequences(logged: Windows) -> np.ndarray:
    """Appends each target to its window, to get sequences for next-item training, int32 [W, L + 1]."""
    return np.concatenate([logged.history, logged.target[:, None]], 1).astype(np.int32)

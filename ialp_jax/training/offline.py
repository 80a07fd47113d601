"""The logs of offline users as training data: windows and transitions."""

from __future__ import annotations

import numpy as np

from ialp_jax import keys
from ialp_jax.data.splits import Windows, windows
from ialp_jax.types import OFFLINE, Dataset, Histories, Observation, Transition


def offline_windows(dataset: Dataset, length: int, seed: int, copies: int = 4) -> Windows:
    """Every like of the offline users, with the likes before it.

    Args:
      dataset: only its offline users are read.
      length: L.
      seed: of the random orders.
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
    """The same likes in another order within each user."""
    owner = np.repeat(np.arange(histories.num_users), np.diff(histories.offsets))
    return histories._replace(items=histories.items[np.lexsort((random.random(len(owner)), owner))])


def appended(history: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Histories [M, L] after one more like [M]."""
    return np.concatenate([history[:, 1:], item[:, None]], 1).astype(np.int32)


def logged_transitions(logged: Windows, horizon: int) -> Transition:
    """Transitions as if every logged next item had been recommended and liked, with reward 1.

    Args:
      logged: W windows, in order of time within a user.
      horizon: H, for the width of ``shown``.

    Returns:
      Transition [W]; the session terminates at a user's last like.
    """
    count, length = logged.history.shape
    shown = np.zeros((count, length + horizon), np.int32)
    shown[:, :length] = logged.history
    next_shown = shown.copy()
    next_shown[:, length] = logged.target
    # The rows of a user are adjacent. If a history is shorter than the one before, another random order of
    # the same user begins.
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
    """Windows with their targets as sequences for next-item training, int32 [W, L + 1]."""
    return np.concatenate([logged.history, logged.target[:, None]], 1).astype(np.int32)

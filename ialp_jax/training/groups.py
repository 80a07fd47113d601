"""The groups of items and users for which evaluation reports separate metrics."""

from __future__ import annotations

import numpy as np

from ialp_jax.training.rollout import Groups
from ialp_jax.types import Dataset

TASTES = ("mainstream", "niche")


def groups_of(dataset: Dataset) -> Groups:
    """Categories of the items, and two groups of users: niche and mainstream taste.

    A user is ``niche`` if the mean of log(1 + popularity) over the user's logged likes is below the median
    over all users. All other users are ``mainstream``. Popularity counts only offline users. No agent sees
    the group. `rollout.summarise_segments` reports the segments of the simulator, if it has any.

    Args:
      dataset: U users, N items.
    """
    counts = np.diff(dataset.histories.offsets)
    owner = np.repeat(np.arange(dataset.num_users), counts)
    log_popularity = np.log1p(dataset.popularity())[dataset.histories.items]
    mean = np.bincount(owner, log_popularity, dataset.num_users) / np.maximum(counts, 1)
    niche = (mean < np.median(mean)).astype(np.int32)
    return Groups(dataset.catalogue.categories.astype(np.int32), niche, TASTES)

"""Groups of a world's users, by which evaluation is broken down in every preset."""

from __future__ import annotations

import numpy as np

from ialp_jax.training.rollout import Groups
from ialp_jax.types import Dataset

TASTES = ("mainstream", "niche")


def groups_of(dataset: Dataset) -> Groups:
    """Categories of the items, and two groups of users by how popular the things are that they like.

    A user is ``niche`` whose mean log(1 + popularity) of all likes lies under the median user's, else
    ``mainstream``. Popularity counts offline users alone; the likes are the logged ones, no agent sees the
    group. Where users differ in segments by the dynamics, those are told apart as well, elsewhere.

    Args:
      dataset: U users, N items.
    """
    counts = np.diff(dataset.histories.offsets)
    owner = np.repeat(np.arange(dataset.num_users), counts)
    fame = np.log1p(dataset.popularity())[dataset.histories.items]
    mean = np.bincount(owner, fame, dataset.num_users) / np.maximum(counts, 1)
    niche = (mean < np.median(mean)).astype(np.int32)
    return Groups(dataset.catalogue.categories.astype(np.int32), niche, TASTES)

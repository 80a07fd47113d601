"""A small world with ratings, and with the true ratings of all pairs. Users rate mostly what they like."""

from __future__ import annotations

import numpy as np

from ialp_jax.types import Catalogue, Dataset, Histories, Interactions

USERS, ITEMS = 150, 60


def expected() -> np.ndarray:
    """Mean ratings of all pairs of user and item, [U, N]."""
    draw = np.random.default_rng(0)
    taste = draw.normal(size=(USERS, 2)) @ draw.normal(size=(2, ITEMS))
    return 2.7 + 0.7 * taste + 0.5 * draw.normal(size=ITEMS) + 0.3 * draw.normal(size=(USERS, 1))


def rated(chosen: np.ndarray, ratings: np.ndarray) -> Interactions:
    """Makes interactions from the pairs that users chose to rate; ``chosen`` is bool [U, N]."""
    user, item = np.nonzero(chosen)
    rows = Interactions(
        user.astype(np.int32),
        (item + 1).astype(np.int32),
        ratings[chosen] >= 3.5,
        ratings[chosen].astype(np.float32),
        ordered=False,
    )
    return rows


def dataset(random_test: bool = False, published: bool = True) -> tuple[Dataset, np.ndarray]:
    """The data set, and the ratings of all pairs [U, N]."""
    draw = np.random.default_rng(1)
    ratings = np.clip(np.round(expected() + 0.5 * draw.normal(size=(USERS, ITEMS))), 1, 5)
    propensity = np.where(ratings >= 3.5, 0.5, 0.1)
    chosen = draw.random(ratings.shape) < propensity
    rows = rated(chosen, ratings)
    if published:
        object.__setattr__(rows, "propensity", propensity[chosen])
    counts = np.bincount(rows.user[rows.like], minlength=USERS)
    histories = Histories(rows.item[rows.like], np.concatenate([[0], np.cumsum(counts)]))
    catalogue = Catalogue(("",) * (ITEMS + 1), np.zeros(ITEMS + 1, np.int32), ("",))
    world = Dataset("rated", catalogue, rows, histories, np.zeros(USERS, np.int8), {})
    if random_test:
        object.__setattr__(world, "random_test", rated(draw.random(ratings.shape) < 0.1, ratings))
    return world, ratings

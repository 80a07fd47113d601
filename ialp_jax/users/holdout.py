"""Splits likes and ratings into training, validation and test, and selects parts of data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ialp_jax import keys
from ialp_jax.types import Dataset, Histories, Interactions, UserModel
from ialp_jax.users.predict import user_scores

UNKNOWN, NEVER, TRAIN, VALIDATION, TEST = -1, 0, 1, 2, 3
_BLOCK_PAIRS = 4_000_000  # pairs scored at once


def _parts(owner: np.ndarray, owners: int, validation: float, test: float, seed: int) -> np.ndarray:
    """Assigns TRAIN, VALIDATION or TEST to each row, int8 [M]; each owner keeps a row for training."""
    draw = keys.generator(seed, "holdout").random(len(owner))
    largest = np.zeros(owners)
    np.maximum.at(largest, owner, draw)
    draw[draw == largest[owner]] = 1.0
    parts = np.where(draw < test, TEST, np.where(draw < test + validation, VALIDATION, TRAIN))
    return parts.astype(np.int8)


def rating_roles(user: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """Assigns a role to every rating: int [M] -> int8 [M]; other arguments as in ``roles``."""
    return _parts(user, int(user.max(initial=-1)) + 1, validation, test, seed)


def roles(histories: Histories, num_items: int, validation: float, test: float, seed: int) -> np.ndarray:
    """Assigns a role to every (user, item) pair: training, validation, test or no interaction.

    Args:
      histories: likes of U users.
      num_items: N.
      validation: share of the likes for validation.
      test: share of the likes for the test.
      seed: same seed, same split.

    Returns:
      int8 [U, N] (U * N bytes), one of NEVER, TRAIN, VALIDATION, TEST; column a is item a + 1. Every user
      with a like keeps at least one for training.
    """
    owner = np.repeat(np.arange(histories.num_users), np.diff(histories.offsets))
    table = np.zeros((histories.num_users, num_items), np.int8)
    table[owner, histories.items - 1] = _parts(owner, histories.num_users, validation, test, seed)
    return table


def subset(rows: Interactions, selected: np.ndarray) -> Interactions:
    """Returns the interactions for which ``selected`` (bool [M]) is true."""
    columns = {
        field.name: getattr(rows, field.name)[selected]
        for field in dataclasses.fields(rows)
        if isinstance(getattr(rows, field.name), np.ndarray)
    }
    return dataclasses.replace(rows, **columns)


def only_users(dataset: Dataset, selected: np.ndarray) -> Dataset:
    """Returns the data set of the ``selected`` users (bool [U]), renumbered in order; all items stay."""
    number = np.cumsum(selected) - 1

    def rows_of(rows: Interactions | None) -> Interactions | None:
        if rows is None:
            return None
        rows = subset(rows, selected[rows.user])
        return dataclasses.replace(rows, user=number[rows.user].astype(rows.user.dtype))

    truth = dataset.truth
    return dataclasses.replace(
        dataset,
        interactions=rows_of(dataset.interactions),
        histories=histories_of(dataset.histories, selected),
        split=dataset.split[selected],
        truth=truth and truth._replace(user_factors=truth.user_factors[selected]),
        random_test=rows_of(dataset.random_test),
    )


def histories_of(histories: Histories, selected: np.ndarray) -> Histories:
    """Returns the likes of only the ``selected`` users (bool [U]), in the same order."""
    counts = np.diff(histories.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts[selected])]).astype(histories.offsets.dtype)
    return Histories(histories.items[np.repeat(selected, counts)], offsets)


def score_blocks(model: UserModel, table: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields blocks: users [b], their scores float32 [b, N] of all items, their rows of ``table`` [b, N]."""
    size = max(1, _BLOCK_PAIRS // table.shape[1])
    for first in range(0, len(table), size):
        users = np.arange(first, min(first + size, len(table)))
        yield users, np.asarray(user_scores(model, users)), table[users]

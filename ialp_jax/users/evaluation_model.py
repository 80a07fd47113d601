"""Fits the user model of training and, if ``simulator.test_model`` is set, a second one for evaluation.

A policy may exploit errors of the fitted user model. With a second user model in the evaluation world, such a
policy loses this advantage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.types import Dataset, Histories, UserModel
from ialp_jax.users.config import UserModelConfig
from ialp_jax.users.fit import fit
from ialp_jax.users.holdout import subset

HALVES = "halves"
_TEST = "test_"  # prefix of the second model's arrays in a store


class Fitted(NamedTuple):
    """A user model with its validation metrics and arrays, as `ialp_jax.users.fit.fit` returns them."""

    model: UserModel
    metrics: dict[str, float]
    arrays: dict[str, np.ndarray]


def fit_models(
    dataset: Dataset, config: UserModelConfig, test_model: str = ""
) -> tuple[Fitted, Fitted | None]:
    """Fits the user model of the training world and the user model of the evaluation world.

    Args:
      dataset: data set of the world.
      config: settings of the user model.
      test_model: ``SimulatorConfig.test_model``. Empty: one user model serves both worlds. ``halves``: the
        two models are fitted to disjoint halves of every user's interactions. The name of a family: the
        second model belongs to that family, and both models are fitted to all interactions.

    Returns:
      The user model for training, and the user model for evaluation (None if ``test_model`` is empty).

    Raises:
      InputError: see `ialp_jax.users.fit.fit`.
    """
    if test_model == HALVES:
        settings = config
        if config.family != "explicit_mf":
            # Each half has only half of the likes. Twice the base rate restores the like rate of the full
            # logs.
            settings = dataclasses.replace(config, base_rate=2 * config.base_rate)
        first_half, second_half = halves(dataset, config.seed)
        return (
            Fitted(*fit(first_half, settings, unknown=second_half.histories)),
            Fitted(*fit(second_half, settings, unknown=first_half.histories)),
        )
    second = Fitted(*fit(dataset, dataclasses.replace(config, family=test_model))) if test_model else None
    return Fitted(*fit(dataset, config)), second


def halves(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Splits every user's interactions at random into two halves; both keep all users and items.

    A user's likes are split evenly, and so are the user's other ratings; if their number is odd, the extra
    one goes to a random half. Both halves keep all ratings in ``Dataset.random_test`` (of items drawn at
    random).

    Args:
      dataset: U users.
      seed: same seed, same halves.
    """
    rows = dataset.interactions
    chance = keys.generator(seed, "halves")
    draw, first = chance.random(len(rows.user)), chance.integers(0, 2, 2 * dataset.num_users)
    order = np.lexsort((draw, rows.like, rows.user))
    group = rows.user[order].astype(np.int64) * 2 + rows.like[order]
    begin = np.searchsorted(group, group)
    second = np.zeros(len(order), bool)
    second[order] = (np.arange(len(order)) - begin + first[group]) % 2 == 1
    return _with_interactions(dataset, ~second), _with_interactions(dataset, second)


def _with_interactions(dataset: Dataset, selected: np.ndarray) -> Dataset:
    """Returns the data set with only those interactions for which ``selected`` (bool [M]) is true."""
    rows = subset(dataset.interactions, selected)
    counts = np.bincount(rows.user[rows.like], minlength=dataset.num_users)
    histories = Histories(rows.item[rows.like], np.concatenate([[0], np.cumsum(counts)]))
    return dataclasses.replace(dataset, interactions=rows, histories=histories)


def to_arrays(model: UserModel, test_model: UserModel | None) -> dict[str, np.ndarray]:
    """Returns both models as one set of named arrays, for a store."""
    arrays = {name: np.asarray(value) for name, value in model._asdict().items()}
    if test_model is not None:
        arrays |= {f"{_TEST}{name}": np.asarray(value) for name, value in test_model._asdict().items()}
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[UserModel, UserModel | None]:
    """Reads both models from the arrays of ``to_arrays``; the second is None if only one was stored."""
    model = UserModel(**{name: arrays[name] for name in UserModel._fields})
    if f"{_TEST}{UserModel._fields[0]}" not in arrays:
        return model, None
    return model, UserModel(**{name: arrays[f"{_TEST}{name}"] for name in UserModel._fields})

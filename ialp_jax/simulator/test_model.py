"""A world built twice, so that agents train with one user model and are judged with another.

A policy that does well only because it found the seams of one fitted model loses there what it found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.types import Dataset, Histories, UserModel
from ialp_jax.users.fit import fit
from ialp_jax.users.holdout import subset

HALVES = "halves"
_TEST = "test_"


class Fitted(NamedTuple):
    """What `ialp_jax.users.fit.fit` returns."""

    model: UserModel
    metrics: dict[str, float]
    arrays: dict[str, np.ndarray]


def fit_models(dataset: Dataset, config: SimulatorConfig) -> tuple[Fitted, Fitted | None]:
    """The user model in which agents train, and the one in which they are judged, None where it is the same.

    With ``test_model=halves`` the two see disjoint halves of every user's interactions; with the name of a
    family, the second is of that family and sees all of them.

    Raises:
      InputError: as `ialp_jax.users.fit.fit`.
    """
    own, other = config.user_model, config.test_model
    if other == HALVES:
        # A half of the logs holds half the likes; its users like as much as those of the whole.
        settings = own
        if own.family != "explicit_mf":
            settings = dataclasses.replace(own, base_rate=2 * own.base_rate)
        one, two = halves(dataset, own.seed)
        return (
            Fitted(*fit(one, settings, unknown=two.histories)),
            Fitted(*fit(two, settings, unknown=one.histories)),
        )
    second = Fitted(*fit(dataset, dataclasses.replace(own, family=other))) if other else None
    return Fitted(*fit(dataset, own)), second


def halves(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Two data sets of the same users and items, with disjoint halves of every user's interactions.

    A user's likes and other ratings are dealt out apart, so that either half has half of each; chance decides
    which has the odd one. Ratings of random items judge both.

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
    return tuple(_only(dataset, part) for part in (~second, second))


def _only(dataset: Dataset, kept: np.ndarray) -> Dataset:
    """The data set with some of its interactions, bool [M]."""
    some = subset(dataset.interactions, kept)
    counts = np.bincount(some.user[some.like], minlength=dataset.num_users)
    histories = Histories(some.item[some.like], np.concatenate([[0], np.cumsum(counts)]))
    return dataclasses.replace(dataset, interactions=some, histories=histories)


def to_arrays(model: UserModel, test_model: UserModel | None) -> dict[str, np.ndarray]:
    """Both models as one set of named arrays for a store."""
    arrays = {name: np.asarray(value) for name, value in model._asdict().items()}
    if test_model is not None:
        arrays |= {f"{_TEST}{name}": np.asarray(value) for name, value in test_model._asdict().items()}
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[UserModel, UserModel | None]:
    """The other way round."""
    model = UserModel(**{name: arrays[name] for name in UserModel._fields})
    if f"{_TEST}{UserModel._fields[0]}" not in arrays:
        return model, None
    return model, UserModel(**{name: arrays[f"{_TEST}{name}"] for name in UserModel._fields})

"""The user model of a world: fitted to the likes of all users, chosen and calibrated on held-out ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import jax
import numpy as np
from tqdm import tqdm

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.types import OFFLINE, Array, Dataset, Histories, UserModel
from ialp_jax.users.als import chunks, factorise
from ialp_jax.users.calibration import calibrate
from ialp_jax.users.config import UserModelConfig, grid
from ialp_jax.users.explicit import fit_explicit
from ialp_jax.users.graph_filter import low_pass
from ialp_jax.users.holdout import (
    TEST,
    TRAIN,
    UNKNOWN,
    VALIDATION,
    histories_of,
    only_users,
    roles,
)
from ialp_jax.users.preference import calibrated, like_logit, like_probability, user_scores
from ialp_jax.users.ranking import ranking_metrics
from ialp_jax.users.validation import validate

__all__ = ["calibrated", "fit", "like_logit", "like_probability", "user_scores"]


def _uncalibrated(users: np.ndarray, items: np.ndarray) -> UserModel:
    """A model whose scores are the products of [U, F] and [N, F]."""
    knots = np.array([0.0], np.float32)
    padded = np.concatenate([np.zeros((1, items.shape[1]), np.float32), items])
    return UserModel(users, padded, np.zeros(len(padded), np.float32), knots, knots)


def _candidates(
    table: np.ndarray, config: UserModelConfig
) -> Iterator[tuple[dict[str, float], tuple[Array, Array]]]:
    """Yields every setting of the grid with the factors [U, F] and [N, F] it gives on the training likes."""
    sizes = dict(zip(("num_users", "num_items"), table.shape, strict=True))
    user, item = np.nonzero(table == TRAIN)
    names = ("factors",) if config.family == "graph_filter" else ("factors", "regularisation", "confidence")
    combinations = list(itertools.product(*(grid(getattr(config, name), name) for name in names)))
    lists = chunks(user, item, table.shape[0]), chunks(item, user, table.shape[1])
    for values in tqdm(combinations, desc="user model"):
        setting = dict(zip(names, values, strict=True))
        factors = int(setting["factors"])
        if config.family == "graph_filter":
            yield setting, low_pass(user, item, **sizes, factors=factors, seed=config.seed)
            continue
        yield (
            setting,
            factorise(
                keys.stream(jax.random.key(config.seed), "init", factors),
                *lists,
                setting["confidence"],
                setting["regularisation"],
                **sizes,
                factors=factors,
                iterations=config.iterations,
            ),
        )


def _select(table: np.ndarray, config: UserModelConfig) -> tuple[UserModel, dict[str, float]]:
    """Fits every combination of the grid to the training likes; returns the best on validation likes."""
    best, chosen = None, {"validation_auc": -np.inf}
    for setting, fitted in _candidates(table, config):
        model = _uncalibrated(*(np.asarray(side) for side in fitted))
        if not all(np.isfinite(side).all() for side in model):
            continue  # too little regularisation for float32
        auc = ranking_metrics(model, table, VALIDATION)["auc"]
        if auc > chosen["validation_auc"]:
            best, chosen = model, setting | {"validation_auc": auc}
    if best is None:
        raise InputError(
            "--config.simulator.user_model.regularisation: no setting gives finite factors; raise it"
        )
    return best, chosen


def fit(
    dataset: Dataset, config: UserModelConfig, unknown: Histories | None = None
) -> tuple[UserModel, dict[str, float], dict[str, np.ndarray]]:
    """Fits, chooses, calibrates and judges the user model of a world.

    Args:
      dataset: U users, N items; the likes of the users whom ``config.fit_users`` names are used, for the
        user model is the world.
      config: family, grid and shares.
      unknown: likes that the data set lacks, so that they count neither as likes nor as dislikes where the
        model is chosen, calibrated and judged.

    Returns:
      The model (NumPy arrays), metrics and arrays of ``validation.validate``; for a fitted family the
      metrics also hold the chosen settings (``factors``, ...) and ``validation_auc``, or, for explicit_mf,
      ``validation_error``; its other metrics are those of ``explicit.judge``.

    Raises:
      InputError: the truth or ratings are asked for and not known, or the data is too small to hold likes
        out.
    """
    config.check()
    if config.fit_users == "not_offline":
        return _fit_without_offline(dataset, config, unknown)
    if config.family == "explicit_mf":
        return fit_explicit(dataset, config)
    num_items = dataset.catalogue.num_items
    table = roles(dataset.histories, num_items, config.validation, config.test, config.seed)
    if unknown is not None:
        owner = np.repeat(np.arange(unknown.num_users), np.diff(unknown.offsets))
        table[owner, unknown.items - 1] = UNKNOWN
    for role, name in ((VALIDATION, "validation"), (TEST, "test")):
        if not np.any(table == role):
            raise InputError(
                f"--config.simulator.user_model.{name}: no like of {dataset.name} falls to it; enlarge it"
            )
    if config.family == "truth":
        if dataset.truth is None:
            raise InputError(
                f"--config.simulator.user_model.family=truth: {dataset.name} is real data, its truth is not "
                "known; use implicit_mf"
            )
        return dataset.truth, *validate(dataset.truth, table, base_rate=None)
    model, chosen = _select(table, config)
    weight = config.base_rate * np.sum(table > 0) / np.sum(table == VALIDATION)
    model = calibrate(model, table, VALIDATION, config.knots, weight)
    metrics, arrays = validate(model, table, config.base_rate)
    return model, metrics | chosen, arrays


def _fit_without_offline(
    dataset: Dataset, config: UserModelConfig, unknown: Histories | None
) -> tuple[UserModel, dict[str, float], dict[str, np.ndarray]]:
    """The fit on the users who are not offline; metrics and arrays speak of them alone."""
    kept = dataset.split != OFFLINE
    part, every = only_users(dataset, kept), dataclasses.replace(config, fit_users="all")
    hidden = None if unknown is None else histories_of(unknown, kept)
    model, metrics, arrays = fit(part, every, hidden)
    fitted = np.asarray(model.user_factors)
    factors = np.tile(fitted.mean(0), (dataset.num_users, 1))
    factors[kept] = fitted
    return model._replace(user_factors=factors), metrics, arrays

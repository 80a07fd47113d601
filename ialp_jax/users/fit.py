"""Fits the user model of a world: chooses settings on validation likes, calibrates the model and tests it."""

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
from ialp_jax.users.calibration import calibrate, raised
from ialp_jax.users.config import UserModelConfig, grid
from ialp_jax.users.fit_ratings import fit_ratings
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
from ialp_jax.users.implicit_mf import chunks, factorise
from ialp_jax.users.ranking import ranking_metrics
from ialp_jax.users.validation import validate


def _uncalibrated(users: np.ndarray, items: np.ndarray) -> UserModel:
    """Returns a model whose scores are the products of user factors [U, F] and item factors [N, F]."""
    knots = np.array([0.0], np.float32)
    padded = np.concatenate([np.zeros((1, items.shape[1]), np.float32), items])
    return UserModel(users, padded, np.zeros(len(padded), np.float32), knots, knots)


def _candidates(
    table: np.ndarray, config: UserModelConfig
) -> Iterator[tuple[dict[str, float], tuple[Array, Array]]]:
    """Yields each setting of the grid with the factors [U, F] and [N, F] that it gives on training likes."""
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
    """Fits every setting of the grid to the training likes; returns the one with the best validation AUC."""
    best, best_setting = None, {"validation_auc": -np.inf}
    for setting, factors in _candidates(table, config):
        model = _uncalibrated(*(np.asarray(side) for side in factors))
        if not all(np.isfinite(side).all() for side in model):
            continue  # float32 overflows if the regularisation is too small
        auc = ranking_metrics(model, table, VALIDATION)["auc"]
        if auc > best_setting["validation_auc"]:
            best, best_setting = model, setting | {"validation_auc": auc}
    if best is None:
        raise InputError(
            "--config.simulator.user_model.regularisation: no setting gives finite factors; raise it"
        )
    return best, best_setting


def fit(
    dataset: Dataset, config: UserModelConfig, unknown: Histories | None = None
) -> tuple[UserModel, dict[str, float], dict[str, np.ndarray]]:
    """Fits the user model of a world: chooses the settings, calibrates and tests it.

    Args:
      dataset: U users, N items. The fit uses the likes of the users that ``config.fit_users`` names.
      config: family, grid and shares.
      unknown: likes that are missing in ``dataset``. The choice of the settings, the calibration and the test
        ignore these pairs.

    Returns:
      The model (NumPy arrays), and the metrics and arrays of ``validation.validate``. ``implicit_mf`` and
      ``graph_filter`` add their best setting (``factors``, ...) and ``validation_auc`` to the metrics.
      ``explicit_mf`` returns the metrics of ``fit_ratings.validate_ratings``, its best setting and
      ``validation_error``.

    Raises:
      InputError: the data lacks the ratings or the true user model that the family needs, no like is in the
        validation or test share, or ``base_rate`` is too high.
    """
    config.check()
    if config.fit_users == "not_offline":
        return _fit_without_offline(dataset, config, unknown)
    if config.family == "explicit_mf":
        return fit_ratings(dataset, config)
    num_items = dataset.catalogue.num_items
    table = roles(dataset.histories, num_items, config.validation, config.test, config.seed)
    if unknown is not None:
        owner = np.repeat(np.arange(unknown.num_users), np.diff(unknown.offsets))
        table[owner, unknown.items - 1] = UNKNOWN
    for role, name in ((VALIDATION, "validation"), (TEST, "test")):
        if not np.any(table == role):
            raise InputError(
                f"--config.simulator.user_model.{name}: no like of {dataset.name} is in it; enlarge it"
            )
    if config.family == "truth":
        if dataset.truth is None:
            raise InputError(
                f"--config.simulator.user_model.family=truth: {dataset.name} is real data, its truth is not "
                "known; use implicit_mf"
            )
        return dataset.truth, *validate(dataset.truth, table, base_rate=None)
    model, setting = _select(table, config)
    model = _calibrated(model, table, config)
    metrics, arrays = validate(model, table, config.base_rate, config.base_rate_rule)
    return model, metrics | setting, arrays


def _calibrated(model: UserModel, table: np.ndarray, config: UserModelConfig) -> UserModel:
    """Calibrates a model on validation likes, at the level that ``base_rate`` and ``base_rate_rule`` set."""
    weight = np.sum(table > 0) / np.sum(table == VALIDATION)
    if config.base_rate_rule == "odds":
        return calibrate(model, table, VALIDATION, config.knots, config.base_rate * weight)
    density = float(np.mean(table > 0))
    mean = config.base_rate * density
    if mean >= 1:
        raise InputError(
            f"--config.simulator.user_model.base_rate: too high; {density:.4g} of all pairs are "
            f"likes, and their multiple {mean:.4g} is not below 1; lower it"
        )
    return raised(calibrate(model, table, VALIDATION, config.knots, weight), table, mean)


def _fit_without_offline(
    dataset: Dataset, config: UserModelConfig, unknown: Histories | None
) -> tuple[UserModel, dict[str, float], dict[str, np.ndarray]]:
    """Fits the model to all users except offline users; metrics and arrays describe only these users."""
    fit_users = dataset.split != OFFLINE
    part, fit_all = only_users(dataset, fit_users), dataclasses.replace(config, fit_users="all")
    unknown_part = None if unknown is None else histories_of(unknown, fit_users)
    model, metrics, arrays = fit(part, fit_all, unknown_part)
    fitted = np.asarray(model.user_factors)
    factors = np.tile(fitted.mean(0), (dataset.num_users, 1))
    factors[fit_users] = fitted
    return model._replace(user_factors=factors), metrics, arrays

"""The user model of a world with ratings: fitted to those that users chose to give, judged on random ones."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset, Interactions, UserModel
from ialp_jax.users import ratings
from ialp_jax.users.als import chunks
from ialp_jax.users.calibration import calibrate_rated, expected_calibration_error, reliability_rated
from ialp_jax.users.config import UserModelConfig, grid
from ialp_jax.users.holdout import TEST, TRAIN, rating_roles, subset
from ialp_jax.users.preference import like_logit
from ialp_jax.users.ranking import item_model, rated_metrics
from ialp_jax.users.validation import RELIABILITY_BINS, expected_likes


class Judged(NamedTuple):
    """Ratings that judge a model: int32 [T], int32 [T] (1..N), bool [T], float64 [T] (mean 1)."""

    user: np.ndarray
    item: np.ndarray
    like: np.ndarray
    weight: np.ndarray


def scores(model: UserModel, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Raw scores of pairs, float32 [T]; ``item`` is 1..N."""
    return np.sum(model.user_factors[user] * model.item_factors[item], -1) + model.item_bias[item]


class Known(NamedTuple):
    """The ratings that fit, choose and calibrate a model, and its sizes.

    Attributes:
      rows: M ratings.
      weight: float64 [M].
      fold: int [M].
      num_users, num_items: U, N.
    """

    rows: Interactions
    weight: np.ndarray
    fold: np.ndarray
    num_users: int
    num_items: int


def _fitted(known: Known, used: np.ndarray, setting: dict[str, float], config: UserModelConfig) -> UserModel:
    """The uncalibrated model of one setting, from the ratings that are used, bool [M]."""
    user, item = known.rows.user[used], known.rows.item[used] - 1
    rating, weight = (part[used].astype(np.float32) for part in (known.rows.rating, known.weight))
    number = np.arange(len(user), dtype=np.int32)
    factors = int(setting["factors"])
    fitted = ratings.factorise(
        keys.stream(jax.random.key(config.seed), "init", factors),
        ratings.Ratings(user, item, rating, weight),
        chunks(user, number, known.num_users),
        chunks(item, number, known.num_items),
        setting["regularisation"],
        setting["bias_regularisation"],
        num_users=known.num_users,
        num_items=known.num_items,
        factors=factors,
        iterations=config.iterations,
    )
    return ratings.as_model(*(np.asarray(array) for array in fitted))


def select(known: Known, config: UserModelConfig) -> tuple[dict[str, float], np.ndarray]:
    """Chooses by cross-validation: each rating is predicted by a model that has not seen it.

    The best setting has the least self-normalised inverse-propensity estimate of the squared error (Schnabel
    et al., section 4): the error over all pairs, not over those that users chose.

    Returns:
      The setting, with its ``validation_error``, and the scores it gives to held-out ratings, float64 [M].

    Raises:
      InputError: no setting gives finite factors.
    """
    names = ("factors", "regularisation", "bias_regularisation")
    lists = (grid(getattr(config.explicit, name), f"explicit.{name}") for name in names)
    chosen, best = {"validation_error": np.inf}, None
    for values in tqdm(list(itertools.product(*lists)), desc="user model"):
        setting = dict(zip(names, values, strict=True))
        unseen = np.zeros(len(known.weight))
        for fold in range(config.explicit.folds):
            held = known.fold == fold
            model = _fitted(known, ~held, setting, config)
            unseen[held] = scores(model, known.rows.user[held], known.rows.item[held])
        error = float(np.average((unseen - known.rows.rating) ** 2, weights=known.weight))
        if error < chosen["validation_error"]:
            chosen, best = setting | {"validation_error": error}, unseen
    if best is None:
        raise InputError(
            "--config.simulator.user_model.explicit.regularisation: no setting gives finite factors; raise it"
        )
    return chosen, best


def fit_explicit(
    dataset: Dataset, config: UserModelConfig
) -> tuple[UserModel, dict[str, float], dict[str, np.ndarray]]:
    """Fits, chooses, calibrates and judges; see `ialp_jax.users.fit.fit`.

    Settings and calibration come from cross-validation, the model from all ratings but the test's. Where the
    data has ratings of items drawn at random (``dataset.random_test``), these are the test.

    Raises:
      InputError: the data has no ratings, or no likes or nothing but likes in them or in the test.
    """
    rows, random = dataset.interactions, getattr(dataset, "random_test", None)
    if rows.rating is None:
        raise InputError(
            f"--config.simulator.user_model.family=explicit_mf: {dataset.name} has no ratings, take another"
        )
    settings = config.explicit
    weight = ratings.weights(rows, settings.propensity, settings.clip, settings.power)
    part = rating_roles(rows.user, 0.0, config.test if random is None else 0.0, config.seed)
    used, tested = part == TRAIN, part == TEST
    judged = (
        Judged(rows.user[tested], rows.item[tested], rows.like[tested], weight[tested])
        if random is None
        else Judged(random.user, random.item, random.like, np.ones(len(random.user)))
    )
    for name, like in (("ratings", rows.like[used]), ("test ratings", judged.like)):
        if len(np.unique(like)) < 2:
            raise InputError(
                f"--config.simulator.user_model.family=explicit_mf: the {name} of {dataset.name} need both "
                "likes and others; change --config.data.like_at"
            )
    fold = keys.generator(config.seed, "folds").integers(0, settings.folds, int(used.sum()))
    known = Known(subset(rows, used), weight[used], fold, dataset.num_users, dataset.catalogue.num_items)
    chosen, unseen = select(known, config)
    model = _fitted(known, np.ones(len(fold), bool), chosen, config)
    model = calibrate_rated(model, unseen, known.rows.like, known.weight, config.knots)
    metrics, arrays = judge(model, known.rows, judged, dataset.catalogue.num_items)
    return model, metrics | chosen | {"interactions": float(len(rows.item))}, arrays


def judge(
    model: UserModel, rows: Interactions, judged: Judged, num_items: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Judges a calibrated model on ratings that neither fitted nor chose it.

    Args:
      model: of U users and N items.
      rows: the ratings that fitted it; the baselines use no others.
      judged: what the metrics are computed on.
      num_items: N.

    Returns:
      Metrics and arrays as ``validation.validate``; ``auc`` and ``ndcg10`` rank the judged items of a user.
      ``like_rate`` (weighted) and the ``real`` and ``simulated`` counts are those of the judged pairs.
      Further metrics: ``item_mean_auc`` and ``item_mean_ndcg10``, by the mean rating of each item, and
      ``judged``, the number of ratings.
    """
    item, rating, like = rows.item, rows.rating, rows.like
    counts = np.bincount(item, minlength=num_items + 1)
    means = np.bincount(item, rating - rating.mean(), num_items + 1) / np.maximum(counts, 1)
    baselines = {
        "": model,
        "popularity_": item_model(np.bincount(item, like, num_items + 1)),
        "item_mean_": item_model(means),
    }
    ranked = {}
    for name, other in baselines.items():
        found = rated_metrics(
            scores(other, judged.user * (name == ""), judged.item), judged.user, judged.like
        )
        ranked |= {f"{name}{metric}": value for metric, value in found.items()}
    chance = 1.0 / (1.0 + np.exp(-np.asarray(like_logit(model, judged.user, judged.item), np.float64)))
    own = scores(model, judged.user, judged.item)
    bins = reliability_rated(own, chance, judged.like, judged.weight, RELIABILITY_BINS)
    users = len(model.user_factors)
    by_user, _ = expected_likes(model, np.zeros((users, num_items), np.int8))
    metrics = {
        "users": float(users),
        "items": float(num_items),
        "judged": float(len(judged.item)),
        "like_rate": float(np.average(judged.like, weights=judged.weight)),
        "simulated_like_rate": float(by_user.sum() / (users * num_items)),
        **ranked,
        "ece": expected_calibration_error(bins),
    }
    sums = {}
    for axis, owner, size in (("popularity", judged.item - 1, num_items), ("likes", judged.user, users)):
        sums[f"{axis}_real"] = np.bincount(owner, judged.weight * judged.like, size)
        sums[f"{axis}_simulated"] = np.bincount(owner, judged.weight * chance, size)
    for name in ("popularity_real", "popularity_simulated"):
        sums[name] = np.sort(sums[name])[::-1]
    return metrics, {**{f"reliability_{name}": value for name, value in bins.items()}, **sums}

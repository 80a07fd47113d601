"""Fits the user model of a world with ratings: ``explicit_mf``, cross-validation, calibration, test."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset, Interactions, UserModel
from ialp_jax.users import explicit_mf
from ialp_jax.users.calibration import calibrate_rated, expected_calibration_error, reliability_rated
from ialp_jax.users.config import UserModelConfig, grid
from ialp_jax.users.holdout import TEST, TRAIN, rating_roles, subset
from ialp_jax.users.implicit_mf import chunks
from ialp_jax.users.predict import like_logit
from ialp_jax.users.ranking import item_model, rated_metrics
from ialp_jax.users.validation import RELIABILITY_BINS, expected_likes


class HeldOutRatings(NamedTuple):
    """Ratings on which the model's metrics are computed.

    Attributes:
      user: int32 [T].
      item: int32 [T], 1..N.
      like: bool [T].
      weight: float64 [T], mean 1.
    """

    user: np.ndarray
    item: np.ndarray
    like: np.ndarray
    weight: np.ndarray


def scores(model: UserModel, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Computes the raw scores of T pairs, float32 [T]; ``item`` is 1..N."""
    return np.sum(model.user_factors[user] * model.item_factors[item], -1) + model.item_bias[item]


class TrainRatings(NamedTuple):
    """Ratings for the fit, the calibration and the choice of the settings; also the sizes of the world.

    Attributes:
      rows: M ratings.
      weight: float64 [M], inverse propensities.
      fold: int [M], cross-validation fold of each rating.
      num_users, num_items: U, N.
    """

    rows: Interactions
    weight: np.ndarray
    fold: np.ndarray
    num_users: int
    num_items: int


def _uncalibrated(
    train: TrainRatings, used: np.ndarray, setting: dict[str, float], config: UserModelConfig
) -> UserModel:
    """Fits the model of one setting to the ratings for which ``used`` (bool [M]) is true."""
    user, item = train.rows.user[used], train.rows.item[used] - 1
    rating, weight = (part[used].astype(np.float32) for part in (train.rows.rating, train.weight))
    number = np.arange(len(user), dtype=np.int32)
    factors = int(setting["factors"])
    fitted = explicit_mf.factorise(
        keys.stream(jax.random.key(config.seed), "init", factors),
        explicit_mf.Ratings(user, item, rating, weight),
        chunks(user, number, train.num_users),
        chunks(item, number, train.num_items),
        setting["regularisation"],
        setting["bias_regularisation"],
        num_users=train.num_users,
        num_items=train.num_items,
        factors=factors,
        iterations=config.iterations,
    )
    users, items, mean = map(np.asarray, fitted)
    return explicit_mf.as_model(users, items, mean)


def select(train: TrainRatings, config: UserModelConfig) -> tuple[dict[str, float], np.ndarray]:
    """Chooses the settings by cross-validation: no rating is predicted by a model that was fitted to it.

    The best setting has the smallest squared error, weighted by self-normalised inverse propensities
    (Schnabel et al., section 4). These weights make the error an estimate for all pairs, not only for pairs
    that users rated.

    Returns:
      The best setting with its ``validation_error``, and its scores of the held-out ratings, float64 [M].

    Raises:
      InputError: no setting gives finite factors.
    """
    names = ("factors", "regularisation", "bias_regularisation")
    lists = (grid(getattr(config.explicit, name), f"explicit.{name}") for name in names)
    best_setting, best_scores = {"validation_error": np.inf}, None
    for values in tqdm(list(itertools.product(*lists)), desc="user model"):
        setting = dict(zip(names, values, strict=True))
        held_out_scores = np.zeros(len(train.weight))
        for fold in range(config.explicit.folds):
            held_out = train.fold == fold
            model = _uncalibrated(train, ~held_out, setting, config)
            held_out_scores[held_out] = scores(model, train.rows.user[held_out], train.rows.item[held_out])
        error = float(np.average((held_out_scores - train.rows.rating) ** 2, weights=train.weight))
        if error < best_setting["validation_error"]:
            best_setting, best_scores = setting | {"validation_error": error}, held_out_scores
    if best_scores is None:
        raise InputError(
            "--config.simulator.user_model.explicit.regularisation: no setting gives finite factors; raise it"
        )
    return best_setting, best_scores


def fit_ratings(
    dataset: Dataset, config: UserModelConfig
) -> tuple[UserModel, dict[str, float], dict[str, np.ndarray]]:
    """Fits, calibrates and tests the family ``explicit_mf``; see `ialp_jax.users.fit.fit`.

    Cross-validation chooses the settings and gives the calibration. Then the model is fitted to all ratings
    except the test ratings. If the data has ratings of items drawn at random (``dataset.random_test``), they
    are the test ratings.

    Raises:
      InputError: the data has no ratings; or the ratings or the test ratings contain only likes or no likes.
    """
    rows, random = dataset.interactions, getattr(dataset, "random_test", None)
    if rows.rating is None:
        raise InputError(
            f"--config.simulator.user_model.family=explicit_mf: {dataset.name} has no ratings; use another "
            "family"
        )
    settings = config.explicit
    weight = explicit_mf.weights(rows, settings.propensity, settings.clip, settings.power)
    role = rating_roles(rows.user, 0.0, config.test if random is None else 0.0, config.seed)
    used, tested = role == TRAIN, role == TEST
    test = (
        HeldOutRatings(rows.user[tested], rows.item[tested], rows.like[tested], weight[tested])
        if random is None
        else HeldOutRatings(random.user, random.item, random.like, np.ones(len(random.user)))
    )
    for name, like in (("ratings", rows.like[used]), ("test ratings", test.like)):
        if len(np.unique(like)) < 2:
            raise InputError(
                f"--config.simulator.user_model.family=explicit_mf: the {name} of {dataset.name} need both "
                "likes and other ratings; change --config.data.like_at"
            )
    fold = keys.generator(config.seed, "folds").integers(0, settings.folds, int(used.sum()))
    train = TrainRatings(
        subset(rows, used), weight[used], fold, dataset.num_users, dataset.catalogue.num_items
    )
    setting, held_out_scores = select(train, config)
    model = _uncalibrated(train, np.ones(len(fold), bool), setting, config)
    model = calibrate_rated(model, held_out_scores, train.rows.like, train.weight, config.knots)
    metrics, arrays = validate_ratings(model, train.rows, test, dataset.catalogue.num_items)
    return model, metrics | setting | {"interactions": float(len(rows.item))}, arrays


def validate_ratings(
    model: UserModel, rows: Interactions, test: HeldOutRatings, num_items: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Computes the metrics of a calibrated model on test ratings.

    The test ratings were used neither to fit the model nor to choose its settings.

    Args:
      model: user model of U users and N items.
      rows: the ratings to which the model was fitted. The baselines use the same ratings.
      test: T ratings.
      num_items: N.

    Returns:
      Metrics and arrays with the same names as in ``validation.validate``. ``auc`` and ``ndcg10`` measure the
      ranking of each user's tested items. ``like_rate`` (weighted) and the ``real`` and ``simulated`` counts
      cover only the tested pairs. Further metrics: ``item_mean_auc`` and ``item_mean_ndcg10`` of a baseline
      that scores each item by its mean rating, and ``judged``, the number of test ratings.
    """
    item, rating, like = rows.item, rows.rating, rows.like
    counts = np.bincount(item, minlength=num_items + 1)
    means = np.bincount(item, rating - rating.mean(), num_items + 1) / np.maximum(counts, 1)
    baselines = {
        "": model,
        "popularity_": item_model(np.bincount(item, like, num_items + 1)),
        "item_mean_": item_model(means),
    }
    ranking: dict[str, float] = {}
    for name, other in baselines.items():
        values = rated_metrics(scores(other, test.user * (name == ""), test.item), test.user, test.like)
        ranking |= {f"{name}{metric}": value for metric, value in values.items()}
    probability = 1.0 / (1.0 + np.exp(-np.asarray(like_logit(model, test.user, test.item), np.float64)))
    test_scores = scores(model, test.user, test.item)
    bins = reliability_rated(test_scores, probability, test.like, test.weight, RELIABILITY_BINS)
    users = len(model.user_factors)
    by_user, _ = expected_likes(model, np.zeros((users, num_items), np.int8))
    metrics = {
        "users": float(users),
        "items": float(num_items),
        "judged": float(len(test.item)),
        "like_rate": float(np.average(test.like, weights=test.weight)),
        "simulated_like_rate": float(by_user.sum() / (users * num_items)),
        **ranking,
        "ece": expected_calibration_error(bins),
    }
    sums = {}
    for axis, owner, size in (("popularity", test.item - 1, num_items), ("likes", test.user, users)):
        sums[f"{axis}_real"] = np.bincount(owner, test.weight * test.like, size)
        sums[f"{axis}_simulated"] = np.bincount(owner, test.weight * probability, size)
    for name in ("popularity_real", "popularity_simulated"):
        sums[name] = np.sort(sums[name])[::-1]
    return metrics, {**{f"reliability_{name}": value for name, value in bins.items()}, **sums}

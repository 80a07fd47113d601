"""Validation of a user model: ranking of held-out likes, calibration, real and simulated numbers of likes."""

from __future__ import annotations

import numpy as np

from ialp_jax.types import UserModel
from ialp_jax.users.calibration import expected_calibration_error, reliability, with_level
from ialp_jax.users.holdout import NEVER, TEST, TRAIN, score_blocks
from ialp_jax.users.ranking import popularity_model, ranking_metrics

RELIABILITY_BINS = 15


def expected_likes(model: UserModel, roles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums the like probabilities of each user, float64 [U], and of each item, float64 [N]."""
    by_user, by_item = np.zeros(roles.shape[0]), np.zeros(roles.shape[1])
    for users, scores, _ in score_blocks(model, roles):
        probability = 1.0 / (1.0 + np.exp(-np.interp(scores, model.knot_scores, model.knot_logits)))
        by_user[users] = probability.sum(axis=1)
        by_item += probability.sum(axis=0)
    return by_user, by_item


def validate(
    model: UserModel, roles: np.ndarray, base_rate: float | None, rule: str = "mean"
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Computes the metrics of a calibrated user model on test likes.

    The test likes were used neither to fit the model nor to choose its settings.

    Args:
      model: user model of U users and N items.
      roles: int8 [U, N] from ``holdout.roles``.
      base_rate, rule: ``UserModelConfig.base_rate`` and ``base_rate_rule``, from which the observed rates
        get their level. ``base_rate`` None: the model is the true user model. The logs then hold an unknown,
        constant share of the likes, so the calibration error measures only the shape of the curve, not its
        level.

    Returns:
      Metrics: ``users``, ``items``, ``interactions``, ``like_rate`` (logged likes per pair),
      ``simulated_like_rate`` (mean probability over all pairs), ``density_ratio`` (simulated like rate / like
      rate), ``auc``, ``ndcg10``, ``popularity_auc``, ``popularity_ndcg10`` (by training likes), ``ece``.
      Arrays: ``reliability_predicted``, ``reliability_observed``, ``reliability_count`` [bins];
      ``popularity_real``, ``popularity_simulated`` [N], each sorted, largest first; ``likes_real``,
      ``likes_simulated`` [U].
    """
    interacted = roles > NEVER
    total, tested = int(interacted.sum()), int(np.sum(roles == TEST))
    by_user, by_item = expected_likes(model, roles)
    bins = reliability(model, roles, TEST, RELIABILITY_BINS, total / tested)
    if base_rate is None:
        bins["observed"] *= by_user.sum() / total
    else:
        bins = with_level(bins, base_rate, rule)
    baseline = ranking_metrics(popularity_model(roles, TRAIN), roles, TEST)
    metrics = {
        "users": float(roles.shape[0]),
        "items": float(roles.shape[1]),
        "interactions": float(total),
        "like_rate": float(interacted.mean()),
        "simulated_like_rate": float(by_user.sum() / roles.size),
        "density_ratio": float(by_user.sum() / total),
        **ranking_metrics(model, roles, TEST),
        **{f"popularity_{name}": value for name, value in baseline.items()},
        "ece": expected_calibration_error(bins),
    }
    arrays = {
        **{f"reliability_{name}": value for name, value in bins.items()},
        "popularity_real": np.sort(interacted.sum(axis=0))[::-1].astype(np.float64),
        "popularity_simulated": np.sort(by_item)[::-1],
        "likes_real": interacted.sum(axis=1).astype(np.float64),
        "likes_simulated": by_user,
    }
    return metrics, arrays

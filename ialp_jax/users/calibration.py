"""Calibration: turns scores into probabilities and measures their error.

The calibration uses held-out likes. A model gives its training likes scores that are too high, so a
calibration on these would be wrong for new pairs. Each held-out like has the weight (all likes / held-out
likes), so that all of them together count as often as the likes of the logs. Each pair without interaction
has the weight 1. This gives the like rates of the logs.

`raised` then adds the same number to all log-odds, such that the mean probability over all pairs is
``base_rate`` times the density of the logs (likes / pairs). The pairs without interaction then include the
likes that the logs lack. Log-odds and not probabilities are raised, because a probability times
``base_rate`` can exceed 1.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, isotonic_regression
from scipy.special import expit, logit

from ialp_jax.types import UserModel
from ialp_jax.users.holdout import NEVER, score_blocks

_GRID = 2**16  # points on which the log-odds of all pairs are counted
_FARTHEST = 50.0  # log-odds that count as infinite
_HIGHEST = 1.0 - 1e-9  # largest mean probability of a like; without unknown pairs, a mean may be larger


def _held_out_scores(model: UserModel, roles: np.ndarray, held_out: int) -> np.ndarray:
    """Returns the scores of all pairs with the role ``held_out``, float32."""
    return np.concatenate([scores[part == held_out] for _, scores, part in score_blocks(model, roles)])


def _bins(scores: np.ndarray, max_bins: int) -> np.ndarray:
    """Edges of at most ``max_bins`` bins with equal numbers of scores; the outer edges are infinite."""
    inner = np.unique(np.quantile(scores, np.linspace(0, 1, max_bins + 1)[1:-1]))
    return np.concatenate([[-np.inf], inner, [np.inf]])


def _tally(model: UserModel, roles: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number and the score sum of the pairs without interaction in each bin, float64."""
    count, total = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for _, scores, part in score_blocks(model, roles):
        never = scores[part == NEVER].astype(np.float64)
        count += np.histogram(never, edges)[0]
        total += np.histogram(never, edges, weights=never)[0]
    return count, total


def calibrate(model: UserModel, roles: np.ndarray, held_out: int, knots: int, weight: float) -> UserModel:
    """Fits the strictly increasing map from score to log-odds.

    Cuts the scores into bins with equal numbers of held-out likes. Isotonic regression (R. E. Barlow and
    others, 1972) merges neighbouring bins whose like rates do not increase. Each remaining bin becomes a knot
    of the piecewise linear map. A logistic curve (Platt) calibrates worse, because its tails do not fit the
    scores of matrix factorisation.

    Args:
      model: its knots are ignored.
      roles: int8 [U, N] from ``holdout.roles``.
      held_out: the role whose likes are used, VALIDATION.
      knots: number of bins before merging; fewer if a bin would hold fewer than 10 likes.
      weight: weight of each held-out like.
    """
    liked = _held_out_scores(model, roles, held_out).astype(np.float64)
    edges = _bins(liked, max(2, min(knots, len(liked) // 10)))
    never, never_sum = _tally(model, roles, edges)
    # Additive smoothing: half a held-out like and half a pair without interaction are added to each bin, so
    # that no like rate is 0 or 1.
    likes = weight * (np.histogram(liked, edges)[0] + 0.5)
    pairs = likes + never + 0.5
    scores = (weight * np.histogram(liked, edges, weights=liked)[0] + never_sum) / np.maximum(
        weight * np.histogram(liked, edges)[0] + never, 1e-9
    )
    return _with_knots(model, likes, pairs, scores)


def _with_knots(model: UserModel, likes: np.ndarray, pairs: np.ndarray, scores: np.ndarray) -> UserModel:
    """Returns the model with one knot for each block of bins that isotonic regression merges.

    Args:
      model: its knots are replaced.
      likes, pairs: sums of the weights of likes and of pairs in each bin.
      scores: mean score of each bin.
    """
    fit = isotonic_regression(likes / pairs, weights=pairs)
    begin = fit.blocks[:-1]
    rate = fit.x[begin]
    centre = np.add.reduceat(scores * pairs, begin) / np.add.reduceat(pairs, begin)
    return model._replace(
        knot_scores=centre.astype(np.float32), knot_logits=np.log(rate / (1.0 - rate)).astype(np.float32)
    )


def shift_to_mean(logits: np.ndarray, count: np.ndarray, mean: float) -> float:
    """Returns the number that must be added to all log-odds to get this mean probability.

    Args:
      logits: float64 [G]; may be infinite.
      count: float64 [G], number of pairs with these log-odds.
      mean: in (0, 1).
    """
    finite = np.clip(logits, -_FARTHEST, _FARTHEST)

    def excess(shift: float) -> float:
        return float(np.average(expit(finite + shift), weights=count)) - mean

    return float(brentq(excess, -2 * _FARTHEST, 2 * _FARTHEST, xtol=1e-9))


def raised(model: UserModel, roles: np.ndarray, mean: float) -> UserModel:
    """Adds the same number to all log-odds, such that the mean probability over all pairs is ``mean``.

    Args:
      model: calibrated.
      roles: int8 [U, N] from ``holdout.roles``; only its shape is used.
      mean: in (0, 1).
    """
    lowest, highest = float(model.knot_logits[0]), float(model.knot_logits[-1])
    width = max(highest - lowest, 1e-9) / (_GRID - 1)
    count = np.zeros(_GRID)
    for _, scores, _ in score_blocks(model, roles):
        logits = np.interp(scores, model.knot_scores, model.knot_logits)
        count += np.bincount(np.rint((logits - lowest) / width).astype(np.int64).ravel(), minlength=_GRID)
    shift = shift_to_mean(lowest + width * np.arange(_GRID), count, mean)
    return model._replace(knot_logits=(model.knot_logits.astype(np.float64) + shift).astype(np.float32))


def calibrate_rated(
    model: UserModel, scores: np.ndarray, like: np.ndarray, weight: np.ndarray, knots: int
) -> UserModel:
    """Does the same as ``calibrate``, but from T rated pairs.

    Args:
      model: its knots are ignored.
      scores: float [T], the model's scores of the pairs.
      like: bool [T].
      weight: float [T], weight of each pair, mean about 1.
      knots: number of bins before merging; fewer if a bin would hold fewer than 10 likes.
    """
    scores = scores.astype(np.float64)
    edges = _bins(scores[like], max(2, min(knots, like.sum() // 10)))
    likes, pairs, total = (
        np.histogram(scores, edges, weights=w)[0] for w in (weight * like, weight, weight * scores)
    )
    return _with_knots(model, likes + 0.5, pairs + 1.0, total / np.maximum(pairs, 1e-9))


def reliability_rated(
    scores: np.ndarray, probability: np.ndarray, like: np.ndarray, weight: np.ndarray, bins: int
) -> dict[str, np.ndarray]:
    """Does the same as ``reliability``, but from T rated pairs; all arrays are float or bool [T]."""
    edges = _bins(scores[like], bins)
    sums = [np.histogram(scores, edges, weights=weight * part)[0] for part in (probability, like, 1.0)]
    safe = np.maximum(sums[2], 1e-9)
    return {"predicted": sums[0] / safe, "observed": sums[1] / safe, "count": sums[2]}


def reliability(
    model: UserModel, roles: np.ndarray, held_out: int, bins: int, weight: float
) -> dict[str, np.ndarray]:
    """Compares predicted and logged like rates, in bins with equal numbers of held-out likes.

    Most pairs are not liked. Bins of equal width would put nearly all pairs into one bin, and bins with equal
    numbers of pairs would put nearly all likes into one bin. Both would hide the error of high probabilities.

    Args:
      model: calibrated.
      roles: int8 [U, N] from ``holdout.roles``.
      held_out: the role whose likes are used, TEST.
      bins: maximum number of bins.
      weight: number of logged likes that each held-out like represents.

    Returns:
      ``predicted``, ``observed`` (rate in the logs), ``count`` (pairs), float64 [bins].
    """
    edges = _bins(_held_out_scores(model, roles, held_out), bins)
    likes, pairs, predicted = np.zeros((3, len(edges) - 1))
    for _, scores, part in score_blocks(model, roles):
        probability = expit(np.interp(scores, model.knot_scores, model.knot_logits))
        for role, each in ((NEVER, 1.0), (held_out, weight)):
            chosen = part == role
            count = each * np.histogram(scores[chosen], edges)[0]
            pairs += count
            predicted += each * np.histogram(scores[chosen], edges, weights=probability[chosen])[0]
            if role == held_out:
                likes += count
    pairs_safe = np.maximum(pairs, 1e-9)
    return {"predicted": predicted / pairs_safe, "observed": likes / pairs_safe, "count": pairs}


def with_level(bins: dict[str, np.ndarray], base_rate: float, rule: str) -> dict[str, np.ndarray]:
    """Raises the observed rates of `reliability` from the level of the logs to the level of the users.

    Args:
      bins: arrays of `reliability`; ``observed`` is replaced.
      base_rate, rule: ``UserModelConfig.base_rate`` and ``base_rate_rule``. For ``mean``, the mean rate of
        all pairs becomes ``base_rate`` times that of the logs. For ``odds``, the odds are multiplied.
    """
    logits = logit(np.clip(bins["observed"], 0.0, 1.0))
    if rule == "odds":
        shift = float(np.log(base_rate))
    else:
        mean = min(base_rate * np.average(bins["observed"], weights=bins["count"]), _HIGHEST)
        shift = shift_to_mean(logits, bins["count"], mean)
    return bins | {"observed": expit(logits + shift)}


def expected_calibration_error(bins: dict[str, np.ndarray]) -> float:
    """Mean |predicted - observed| over the bins, weighted by their pairs (Naeini et al., 2015)."""
    gap = np.abs(bins["predicted"] - bins["observed"])
    return float(np.sum(bins["count"] * gap) / np.sum(bins["count"]))

"""Probability that a user likes a candidate: a logistic regression, fitted in each round. numpy and scipy.

log-odds = intercept + slopes . features. The features are the scores of the label sources and the popularity
of the candidate. "Likes" means: the candidate appears later in the user's log. A log does not have every
like. So the probability is lower than the probability that the user would like the item if it were shown.

The probability must be right for the candidates that the actor proposes. The actor learns to propose items
with high scores. So among proposals with the same score, likes become rarer from round to round. Each round
is therefore fitted on the proposals of the present actor. They hold few likes. So a ridge penalty pulls the
slopes towards the slopes of the round before, not towards 0.

Before the first round, the slopes come from a separate fit. It also sees the users' next items, because an
untrained actor rarely proposes a liked item. Its intercept is not used, because the added items make likes
too frequent. In later rounds, next items would mislead the fit: the actor did not propose them, and their
scores are lower than those of its proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.special import entr, expit

FOLDS = 5  # parts of the cross-validation over users
BINS = 10  # rows of the reliability table
FIRST_PULL, PULL = 1.0, 5.0  # strength of the ridge penalty before the first round, and in each round
FEW_LIKES = 10  # fewer likes among the proposals of a round cause a warning
REVERSED = -0.1  # a lower coefficient of a source, per standard deviation of its scores, causes a warning


class Evidence(NamedTuple):
    """The answers to Q questions about held-out users, with K candidates and C features each.

    Attributes:
      features: float64 [Q, K, C]; finite for ``usable`` candidates.
      liked: bool [Q, K], whether the candidate is among the user's later likes.
      usable: bool [Q, K], whether the answer is valid and ``liked`` is known.
      user: int [Q].
      with_next: bool [Q], whether the user's next item was put among the candidates.
    """

    features: np.ndarray
    liked: np.ndarray
    usable: np.ndarray
    user: np.ndarray
    with_next: np.ndarray

    def rows(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The usable candidates of some questions (bool [Q]): features [R, C] and likes [R]."""
        chosen = self.usable & questions[:, None]
        return self.features[chosen], self.liked[chosen]


class Fit(NamedTuple):
    """Coefficients of a logistic regression: a number and float64 [C]."""

    intercept: float
    slopes: np.ndarray

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Maps features [..., C] to log-odds [...]."""
        return self.intercept + features @ self.slopes


def fit(features: np.ndarray, liked: np.ndarray, centre: np.ndarray, pull: float) -> Fit:
    """Fits a logistic regression whose slopes are pulled towards ``centre``.

    Minimises the log loss plus ``pull`` / 2 times the squared distance to ``centre``, in units of the
    features' standard deviations. Half a like and half a dislike with mean features are added. So the
    intercept is finite without any like. The slope of a constant feature stays at its centre.

    Args:
      features: float64 [R, C].
      liked: bool [R].
      centre: float64 [C].
      pull: positive; the larger, the closer the slopes stay to ``centre``.
    """
    mean, spread = _location(features)
    design = np.hstack([np.ones((len(features), 1)), (features - mean) / spread])
    target = np.concatenate([[0.0], centre * spread])
    penalty = np.concatenate([[0.0], np.full(len(mean), pull)])
    first = np.eye(len(target))[0]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        odds, gap = design @ theta, theta - target
        value = np.sum(np.logaddexp(0, odds) - liked * odds) + penalty @ gap**2 / 2
        value += np.logaddexp(0, theta[0]) - theta[0] / 2
        slope = design.T @ (expit(odds) - liked) + penalty * gap + (expit(theta[0]) - 0.5) * first
        return float(value), slope

    def curvature(theta: np.ndarray) -> np.ndarray:
        chance, middle = expit(design @ theta), expit(theta[0])
        weighted = design * (chance * (1 - chance))[:, None]
        return design.T @ weighted + np.diag(penalty + middle * (1 - middle) * first)

    theta = optimize.minimize(loss, target, jac=True, hess=curvature, method="trust-exact").x
    slopes = theta[1:] / spread
    return Fit(float(theta[0] - mean @ slopes), slopes)


def _location(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the columns, [C] each; 0 without rows, and 1 for a constant column."""
    if not len(features):
        return np.zeros(features.shape[1]), np.ones(features.shape[1])
    mean, spread = features.mean(0), features.std(0)
    return mean, np.where(spread > 1e-9 * np.maximum(1, np.abs(mean)), spread, 1.0)


class LikeModel:
    """The regression of the present round, its cross-validation, and a record of all rounds.

    Attributes:
      rounds: the record of each round, for the manifest.
    """

    def __init__(self, names: Sequence[str], num_sources: int) -> None:
        """Takes the names of the features; the scores of the ``num_sources`` label sources come first.

        Before any evidence, a higher score means more likes, and popularity means nothing.
        """
        self._names = list(names)
        self._trust = np.where(np.arange(len(names)) < num_sources, 1 / num_sources, 0.0)
        self._fit: Fit | None = None
        self._folds: dict[int, Fit] = {}  # fold -> the fit without its users
        self.rounds: list[dict[str, Any]] = []

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Maps features [..., C] to log-odds [...]. `update` must have been called."""
        if self._fit is None:
            raise ValueError("the model has not been fitted")
        return self._fit.log_odds(features)

    def update(self, evidence: Evidence) -> None:
        """Fits the next round, and measures the fit by cross-validation over users."""
        self._fit = self._refitted(self._fit, evidence, np.ones(len(evidence.user), bool))
        users = np.unique(evidence.user)
        fold = evidence.user % FOLDS if len(users) > 1 else np.zeros(len(evidence.user), int)
        odds = np.full(evidence.liked.shape, np.nan)
        for number in range(FOLDS):
            test = fold == number
            self._folds[number] = self._refitted(self._folds.get(number), evidence, ~test)
            odds[test] = self._folds[number].log_odds(np.nan_to_num(evidence.features[test]))
        self.rounds.append(self._record(evidence, odds, len(users)))

    def _refitted(self, before: Fit | None, evidence: Evidence, questions: np.ndarray) -> Fit:
        """Fits the next round after ``before``, on some of the questions (bool [Q])."""
        if before is None:
            rows = evidence.rows(questions)
            before = fit(*rows, self._trust / _location(rows[0])[1], FIRST_PULL)
        return fit(*evidence.rows(questions & ~evidence.with_next), before.slopes, PULL)

    def _record(self, evidence: Evidence, odds: np.ndarray, num_users: int) -> dict[str, Any]:
        """Describes a round; ``odds`` [Q, K] are log-odds from a fit without the question's user."""
        as_proposed = evidence.usable & ~evidence.with_next[:, None]
        features, liked = evidence.features[as_proposed], evidence.liked[as_proposed]
        fitted = self._fit or Fit(0.0, self._trust)
        record: dict[str, Any] = {
            "questions": len(evidence.user),
            "questions_with_next_item": int(evidence.with_next.sum()),
            "users": num_users,
            "proposals": len(liked),
            "likes": int(liked.sum()),
            "coefficients": {
                "intercept": fitted.intercept,
                **dict(zip(self._names, fitted.slopes.tolist(), strict=True)),
            },
            "constant": [],
            "reversed": [],
        }
        if len(liked):
            constant, effects = np.ptp(features, 0) == 0, fitted.slopes * features.std(0)
            is_reversed = (effects < REVERSED) & (self._trust > 0)
            record["constant"] = [self._names[number] for number in np.flatnonzero(constant)]
            record["reversed"] = [self._names[number] for number in np.flatnonzero(is_reversed)]
        if num_users > 1 and len(liked):
            record |= measures(odds[as_proposed], liked)
            record["best"] = _best(odds, evidence.liked, as_proposed)
        return record

    def manifest(self) -> dict[str, Any]:
        """The records of all rounds, and reasons why the probabilities may be wrong."""
        return {"features": self._names, "rounds": self.rounds, "cautions": self._cautions()}

    def _cautions(self) -> list[str]:
        """Reasons why the probabilities may be wrong, one line each."""
        first = "raise --config.labelling.calibration_questions or --config.llm.embedded.holdout"
        reasons = {
            f"the held-out users like fewer than {FEW_LIKES} of its proposals; {first}": [
                record["likes"] < FEW_LIKES for record in self.rounds
            ],
            "it has one held-out user, so it is not cross-validated; raise --config.llm.embedded.holdout": [
                record["users"] < 2 for record in self.rounds
            ],
        }
        for name in self._names:
            constant = [name in record["constant"] for record in self.rounds]
            reasons[f"{name} is the same for all proposals, so its coefficient is not learned"] = constant
            fell = [name in record["reversed"] for record in self.rounds]
            reasons[f"a higher score of {name} makes a like less probable"] = fell
        return [
            f"calibration of likes, round {', '.join(map(str, np.flatnonzero(holds)))}: {reason}"
            for reason, holds in reasons.items()
            if any(holds)
        ]


def measures(odds: np.ndarray, liked: np.ndarray) -> dict[str, Any]:
    """Measures predicted log-odds, float64 [R], against likes, bool [R]; R is at least 1.

    Returns:
      ``log_loss`` in nats, ``log_loss_of_rate`` (if every prediction is the share of likes), ``auc`` (None
      without likes or without dislikes), and ``reliability``: mean prediction, share of likes and number of
      candidates, in bins of equal size from the lowest to the highest prediction.
    """
    chance, rate, wins = expit(odds), liked.mean(), int(liked.sum())
    bins = [part for part in np.array_split(np.argsort(odds, kind="stable"), BINS) if len(part)]
    ranks = stats.rankdata(odds)[liked].sum()
    pairs = wins * (len(liked) - wins)
    return {
        "log_loss": float(np.mean(np.logaddexp(0, odds) - liked * odds)),
        "log_loss_of_rate": float(entr(rate) + entr(1 - rate)),
        "auc": float((ranks - wins * (wins + 1) / 2) / pairs) if pairs else None,
        "reliability": {
            "predicted": [float(chance[part].mean()) for part in bins],
            "observed": [float(liked[part].mean()) for part in bins],
            "count": [len(part) for part in bins],
        },
    }


def _best(odds: np.ndarray, liked: np.ndarray, usable: np.ndarray) -> dict[str, float]:
    """Mean prediction and share of likes of the best candidate of each question; arrays [Q, K]."""
    rows = np.flatnonzero(usable.any(1))
    best = np.where(usable, odds, -np.inf)[rows].argmax(1)
    predicted, observed = expit(odds[rows, best]).mean(), liked[rows, best].mean()
    return {"predicted": float(predicted), "observed": float(observed)}

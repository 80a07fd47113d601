"""Settings of the user model, ``--config.simulator.user_model``."""

import dataclasses
import math

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

FAMILIES = ("implicit_mf", "explicit_mf", "graph_filter", "truth")
FIT_USERS = ("all", "not_offline")
BASE_RATE_RULES = ("mean", "odds")
PROPENSITIES = ("published", "popularity", "none")
_FLAG = "--config.simulator.user_model"
# Families that ignore base_rate, and why.
_OWN_RATE = {
    "explicit_mf": "explicit_mf computes the rate from the ratings",
    "truth": "the true user model has its own rate",
}


def grid(text: str, name: str) -> list[float]:
    """Reads a comma-separated list of positive numbers.

    Raises:
      InputError: the text is not a comma-separated list of positive numbers.
    """
    try:
        values = [float(part) for part in str(text).split(",")]
    except ValueError:
        raise InputError(
            f"{_FLAG}.{name}={text}: expected numbers separated by commas, as in '8,16'"
        ) from None
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise InputError(f"{_FLAG}.{name}={text}: all values must be positive")
    return values


@dataclasses.dataclass
class ExplicitConfig:
    """How ``explicit_mf`` fits ratings.

    ``factors``, ``regularisation`` and ``bias_regularisation`` are comma-separated lists. Cross-validation
    chooses the combination with the smallest weighted squared error.

    Attributes:
      factors: F, length of the vector of a user and of an item, without the biases.
      regularisation: weight of the squared norms of the factors.
      bias_regularisation: weight of the squared biases.
      propensity: estimate of the probability that a rating is observed. The fit weights each rating by the
        inverse of this probability. published: the estimate that the data set contains (coat); for other data
        sets, as popularity. popularity: share of users who rated the item, raised to ``power``. none: all
        ratings have the same weight.
      clip: lower bound of the propensity. It limits the weight of a single rating.
      power: exponent of the popularity, if the propensity is estimated from popularity.
      folds: number of folds of the cross-validation, which chooses the settings and gives the calibration;
        explicit_mf does not use --config.simulator.user_model.validation.
    """

    factors: str = "16,32"
    regularisation: str = "4,6,8"
    bias_regularisation: str = "2,5"
    propensity: str = "published"
    clip: float = 0.01
    power: float = 0.5
    folds: int = 5

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        flag = f"{_FLAG}.explicit"
        if any(value != int(value) for value in grid(self.factors, "explicit.factors")):
            raise InputError(f"{flag}.factors={self.factors}: must be whole numbers")
        grid(self.regularisation, "explicit.regularisation")
        grid(self.bias_regularisation, "explicit.bias_regularisation")
        if self.propensity not in PROPENSITIES:
            raise InputError(f"{flag}.propensity={self.propensity}: known: {', '.join(PROPENSITIES)}")
        if not 0 < self.clip <= 1:
            raise InputError(f"{flag}.clip={self.clip}: must be above 0 and at most 1")
        if self.folds < 2:
            raise InputError(f"{flag}.folds={self.folds}: must be at least 2")
        if not 0 <= self.power <= 3:
            raise InputError(f"{flag}.power={self.power}: must be in 0..3")


@dataclasses.dataclass
class UserModelConfig:
    """How the probability that a user likes an item is fitted.

    ``factors``, ``regularisation`` and ``confidence`` are comma-separated lists. The fit tries all
    combinations and takes the one with the best AUC on validation interactions.

    Attributes:
      family: implicit_mf (matrix factorisation of likes), explicit_mf (matrix factorisation of ratings),
        graph_filter (singular vectors of the matrix of likes; it ignores regularisation and confidence), or
        truth (generated worlds only).
      factors: F, length of the vector of a user and of an item.
      regularisation: weight of the squared norms of the factors.
      confidence: extra weight of a like, compared with a pair without interaction; alpha of Hu et al.
      fit_users: users whose interactions are used to fit and to validate the model. all: all users.
        not_offline: all except offline users. Agents and the LLM train on the logs of offline users, so with
        not_offline they never see the data behind the simulated users. Offline users then appear in no
        session, and their factors are the mean of all other users' factors.
      iterations: iterations of alternating least squares; each iteration solves for users and for items.
      validation: share of the interactions used to choose the settings and to calibrate the probabilities.
      test: share of the interactions on which the user model's metrics are reported.
      knots: maximum number of knots of the calibration.
      base_rate: mean like probability of the simulated users, as a multiple of the density of the logs.
        1 treats each pair without interaction as a dislike. A value above 1 assumes that the logs lack likes
        (Last.fm lists at most 50 artists per user). The setting shifts all log-odds by the same amount.
      base_rate_rule: how base_rate acts. mean: the mean like probability over all pairs of user and item is
        base_rate times the density of the logs. odds: the odds of a like are multiplied by base_rate, so the
        mean probability rises less (with base_rate 4 on Last.fm, 2.9 times). The committed study uses odds.
        explicit_mf and truth have their own rate of likes, and ignore both settings.
      seed: seed of the split of the interactions and of the initial factors.
      explicit: settings of explicit_mf; they replace factors, regularisation and confidence.
    """

    family: str = "implicit_mf"
    factors: str = "16,32"
    regularisation: str = "10,30,100"
    confidence: str = "20,40"
    fit_users: str = "all"
    iterations: int = 10
    validation: float = 0.1
    test: float = 0.1
    knots: int = 30
    base_rate: float = setting(1.0, at_least=1e-6, at_most=1e6)
    base_rate_rule: str = setting("mean", choices=BASE_RATE_RULES)
    seed: int = 0
    explicit: ExplicitConfig = dataclasses.field(default_factory=ExplicitConfig)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "simulator.user_model")
        if self.family not in FAMILIES:
            raise InputError(f"{_FLAG}.family={self.family}: unknown; known: {', '.join(FAMILIES)}")
        if self.fit_users not in FIT_USERS:
            raise InputError(f"{_FLAG}.fit_users={self.fit_users}: unknown; known: {', '.join(FIT_USERS)}")
        if self.fit_users != "all" and self.family == "truth":
            raise InputError(f"{_FLAG}.fit_users={self.fit_users}: the truth is not fitted; use all")
        if any(value != int(value) for value in grid(self.factors, "factors")):
            raise InputError(f"{_FLAG}.factors={self.factors}: must be whole numbers")
        grid(self.regularisation, "regularisation")
        grid(self.confidence, "confidence")
        for name in ("iterations", "knots"):
            if getattr(self, name) < (2 if name == "knots" else 1):
                raise InputError(f"{_FLAG}.{name}={getattr(self, name)}: too small")
        if self.base_rate != 1 and self.family in _OWN_RATE:
            raise InputError(f"{_FLAG}.base_rate={self.base_rate}: {_OWN_RATE[self.family]}; use 1")
        self.explicit.check()
        if self.seed < 0:
            raise InputError(f"{_FLAG}.seed={self.seed}: must be at least 0")
        shares = (self.validation, self.test)
        if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise InputError(
                f"{_FLAG}.validation and .test: must be positive shares whose sum is below 1, not {shares}"
            )

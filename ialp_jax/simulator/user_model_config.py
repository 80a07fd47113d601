"""Settings of the user model."""

import dataclasses
import math

from ialp_jax.errors import InputError

FAMILIES = ("implicit_mf", "truth")
_FLAG = "--config.simulator.user_model"


def grid(text: str, name: str) -> list[float]:
    """The numbers of a comma-separated list, all positive.

    Raises:
      InputError: something else stands there.
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
class UserModelConfig:
    """How the probability that a user likes an item is fitted.

    ``factors``, ``regularisation`` and ``confidence`` are comma-separated lists. Where there is more than
    one combination, the one with the best AUC on validation interactions is taken.

    Attributes:
      family: implicit_mf (matrix factorisation of implicit feedback), or truth (generated worlds only).
      factors: F, entries of the vector of a user and of an item.
      regularisation: weight of the squared norms of the factors.
      confidence: extra weight of an observed like over an unobserved pair, alpha of Hu et al.
      iterations: sweeps of alternating least squares, over users and over items each.
      validation: share of the interactions on which settings are chosen and probabilities calibrated.
      test: share of the interactions on which the user model is reported.
      knots: knots of the calibration.
      base_rate: mean like probability of the simulated users as a multiple of the density of the logs.
        1 takes a pair without interaction for a dislike; more allows for likes that the logs do not
        hold (Last.fm's stop at 50 artists per user). It shifts all log-odds alike.
      seed: of the split of the interactions and of the first factors.
    """

    family: str = "implicit_mf"
    factors: str = "16,32"
    regularisation: str = "10,30,100"
    confidence: str = "20,40"
    iterations: int = 10
    validation: float = 0.1
    test: float = 0.1
    knots: int = 30
    base_rate: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.family not in FAMILIES:
            raise InputError(f"{_FLAG}.family={self.family}: unknown; known: {', '.join(FAMILIES)}")
        if any(value != int(value) for value in grid(self.factors, "factors")):
            raise InputError(f"{_FLAG}.factors={self.factors}: must be whole numbers")
        grid(self.regularisation, "regularisation")
        grid(self.confidence, "confidence")
        for name in ("iterations", "knots"):
            if getattr(self, name) < (2 if name == "knots" else 1):
                raise InputError(f"{_FLAG}.{name}={getattr(self, name)}: too small")
        if not (math.isfinite(self.base_rate) and self.base_rate > 0):
            raise InputError(f"{_FLAG}.base_rate={self.base_rate}: must be positive")
        if self.seed < 0:
            raise InputError(f"{_FLAG}.seed={self.seed}: must be at least 0")
        shares = (self.validation, self.test)
        if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise InputError(
                f"{_FLAG}.validation and .test: positive shares whose sum is under 1, not {shares}"
            )

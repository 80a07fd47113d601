"""Uses reference policies to check whether a world separates good recommenders from bad ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Check(NamedTuple):
    """A condition that a world must meet.

    Attributes:
      demand: the condition, in words.
      holds: whether the world meets it.
      figures: the numbers on which the decision depends, as text.
    """

    demand: str
    holds: bool
    figures: str


# (better, worse, meaning): the interval of the difference of their returns must lie above 0.
ORDER = (
    ("oracle", "popular", "knowing the user pays more than following the crowd"),
    ("popular", "random", "following the crowd pays more than chance"),
    ("oracle", "stayer", "recommending well pays more than merely avoiding exit"),
)


def world_checks(metrics: Mapping[str, float]) -> list[Check]:
    """Checks the returns and lengths from `ialp_jax.evaluation.references.reference_returns`.

    A known simulator would fail these checks, because its random policy has a higher return than the policy
    that recommends the best-rated items. In this simulator, avoiding the rule that ends a session pays more
    than pleasing the user. The function skips a check if ``metrics`` lacks one of its policies.
    """
    checks = []
    for better, worse, meaning in ORDER:
        if f"{better}_return" in metrics and f"{worse}_return" in metrics:
            # Earlier versions stored no differences. Then the two intervals must not overlap.
            gap = metrics[f"{better}_return_ci_low"] - metrics[f"{worse}_return_ci_high"]
            holds = metrics.get(f"{better}_above_{worse}_ci_low", gap) > 0
            figures = f"{_interval(metrics, better)} against {_interval(metrics, worse)}"
            checks.append(Check(f"{meaning}: {better} above {worse}", holds, figures))
    if "oracle_length" in metrics and "random_length" in metrics:
        longer, shorter = metrics["oracle_length"], metrics["random_length"]
        figures = f"{longer:.1f} steps against {shorter:.1f}"
        checks.append(Check("users whom the oracle serves stay at least as long", longer >= shorter, figures))
    return checks


def _interval(metrics: Mapping[str, float], name: str) -> str:
    low, high = (metrics[f"{name}_return_ci_{end}"] for end in ("low", "high"))
    return f"{metrics[f'{name}_return']:.2f} [{low:.2f}, {high:.2f}]"

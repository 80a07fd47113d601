"""Tests the paper's claims: each claim holds, fails or is undecided.

Every claim compares an effect with a threshold. A claim holds if the whole 95 % interval of the effect lies
on the claimed side of the threshold or touches the threshold. It fails if the whole interval lies on the
other side. Otherwise it is undecided. A claim is also undecided if its effect is not a number, for example a
ratio whose denominator is 0 or less. A claim is left out if one of its agents did not run.

`statistics.compared` computes the intervals by resampling seeds, in one world with one set of labels. All
returns are returns on evaluation users. ``initial`` and ``final`` mean the first and the last evaluation
point. Every ratio divides one mean over seeds by another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.reporting.styles import style
from experiments.study.study_results import Pair
from experiments.study.variants import is_first, variant
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.statistics import Estimate

COLUMNS = ["claim", "world", "verdict", "effect", "ci_low", "ci_high"]
SCRATCH = ("dqn", "pg", "a2c")
CONTROLS = ("popular", "sasrec", "a2c_warm")
RIVALS = ("a_ialp_ft", "a_ialp_ap", "pex", "jsrl", "a2c_kl", "rlpd", "wsrl")
HEAD_START = 2.6  # The lowest ratio that the paper reports for claim (a).
TOLERANCE = 0.02  # A share of the initial return. With 256 sessions, smaller drops cannot be detected.
EARLY = 20_000  # env steps


class Claim(NamedTuple):
    """One claim, tested in one world.

    Attributes:
      claim: id, such as ``c_ft``: the letter of the claim, and the name of one part of it.
      text: the claim in words.
      threshold: number with which the effect is compared.
      effect: estimate of the effect.
      at_most: true if the effect must be at most the threshold, false if it must be at least the threshold.
    """

    claim: str
    text: str
    threshold: float
    effect: Estimate
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """``holds``, ``fails`` or ``undecided``."""
        low, high = float(self.effect.low), float(self.effect.high)
        if self.at_most:
            low, high = -high, -low
        threshold = -self.threshold if self.at_most else self.threshold
        return "holds" if low >= threshold else "fails" if high < threshold else "undecided"


Pairs = Mapping[str, Pair]
Test = Callable[[Pairs], Iterator[Claim]]


def ratio(above: np.ndarray, *below: np.ndarray) -> float:
    """The mean of ``above`` divided by the highest mean of ``below``; NaN if the divisor is not positive."""
    best = max(part.mean() for part in below)
    return above.mean() / best if best > 0 else np.nan


def drop(returns: np.ndarray) -> float:
    """Largest drop of the mean curve of returns [S, E] below its first value, as a share of that value."""
    mean = returns.mean(axis=0)
    return (mean[0] - mean.min()) / mean[0] if mean[0] > 0 else np.nan


def _metric(pairs: Pairs, metric: str, *agents: str) -> list[np.ndarray]:
    return [pairs[agent].metrics[metric] for agent in agents]


def _has(pairs: Pairs, *agents: str) -> bool:
    return all(agent in pairs for agent in agents)


def head_start(pairs: Pairs) -> Iterator[Claim]:
    """(a) iALP's initial return is at least 2.6 times the best initial return of DQN, PG and A2C."""
    if _has(pairs, "ialp", *SCRATCH):
        effect = statistics.compared(ratio, *_metric(pairs, "initial_return", "ialp", *SCRATCH))
        yield Claim("a", "iALP starts 2.6 times as high as the best of DQN, PG, A2C", HEAD_START, effect)


def final_return(pairs: Pairs) -> Iterator[Claim]:
    """(b) A-iALP_ap's final return is at least as high as that of DQN and that of frozen iALP.

    In the paper, it is 1.15 times that of DQN and 2.95 times that of frozen iALP.
    """
    for other, paper in (("dqn", 1.15), ("ialp", 2.95)):
        if _has(pairs, "a_ialp_ap", other):
            effect = statistics.compared(ratio, *_metric(pairs, "final_return", "a_ialp_ap", other))
            text = f"A-iALP_ap ends above {style(other).name} (paper: {paper} times)"
            yield Claim(f"b_{other}", text, 1.0, effect)


def early_drop(pairs: Pairs) -> Iterator[Claim]:
    """(c) The return of A-iALP_ft drops early, but that of A-iALP_ap does not drop.

    A drop is measured on the mean curve over seeds, as a share of its first value. We do not use single
    curves, because noise nearly always puts a point below the first value. ``c_ft``: ft drops by 2 % or more
    in the first 20,000 env steps. ``c_ap``: ap drops by at most 2 % over the whole run. ``c_difference``:
    over the whole run, ft's drop exceeds ap's drop by 2 percentage points or more.
    """
    ft, ap = "a_ialp_ft", "a_ialp_ap"
    if _has(pairs, ft):
        early = pairs[ft].curves["return"][:, pairs[ft].env_steps <= EARLY]
        effect = statistics.compared(drop, early)
        yield Claim("c_ft", "A-iALP_ft drops by 2 % or more in the first 20,000 steps", TOLERANCE, effect)
    if _has(pairs, ap):
        effect = statistics.compared(drop, pairs[ap].curves["return"])
        yield Claim("c_ap", "A-iALP_ap never drops by more than 2 %", TOLERANCE, effect, at_most=True)
    if _has(pairs, ft, ap):
        both = (pairs[name].curves["return"] for name in (ft, ap))
        effect = statistics.compared(lambda one, other: drop(one) - drop(other), *both)
        text = "A-iALP_ft drops deeper than A-iALP_ap, by 2 % of its start or more"
        yield Claim("c_difference", text, TOLERANCE, effect)


def baselines(pairs: Pairs) -> Iterator[Claim]:
    """(d) The order of the baselines: DQN's final return is at least those of A2C and PG.

    The paper compares A-iALP_ap with DQN, whose final return on Last.fm is 28.8. Of the baselines' initial
    returns, the paper gives only the range. So we can test neither the order of A2C and PG nor the order of
    the initial returns.
    """
    for other in ("a2c", "pg"):
        if _has(pairs, "dqn", other):
            effect = statistics.compared(ratio, *_metric(pairs, "final_return", "dqn", other))
            yield Claim(f"d_{other}", f"DQN ends above {style(other).name}", 1.0, effect)


def labels(pairs: Pairs) -> Iterator[Claim]:
    """(e) The labels help.

    The initial and the final returns of iALP, ft and ap are at least as high as those of popular, SASRec and
    a2c_warm.
    """
    for agent in ("ialp", "a_ialp_ft", "a_ialp_ap"):
        for when, what in (("initial", "starts"), ("final", "ends")):
            for other in CONTROLS:
                if _has(pairs, agent, other):
                    effect = statistics.compared(ratio, *_metric(pairs, f"{when}_return", agent, other))
                    text = f"{style(agent).name} {what} above {style(other).name}"
                    yield Claim(f"e_{agent}_{when}_{other}", text, 1.0, effect)


def better_than_ap(pairs: Pairs) -> Iterator[Claim]:
    """(g) Our own goal for A-iALP_gate, which the paper does not contain.

    ``g_area``: the gate's area under the return curve is at least 1.1 times ap's area. ``g_probability``: the
    gate's area exceeds ap's area with probability 0.9 or more. ``g_best``: the gate's area is at least as
    large as the largest area of its `RIVALS`. ``g_floor``: at every evaluation point, the gate's mean return
    is at least 0.98 times that of the frozen policy from which it starts.
    """
    gate, ap = "a_ialp_gate", "a_ialp_ap"
    if not _has(pairs, gate):
        return
    if _has(pairs, ap):
        areas = _metric(pairs, "auc_return", gate, ap)
        yield Claim(
            "g_area",
            "the gate's area is 1.1 times that of A-iALP_ap",
            1.1,
            statistics.compared(ratio, *areas),
        )
        chance = statistics.probability_of_improvement(*(area[:, None] for area in areas))
        yield Claim("g_probability", "the gate's area exceeds A-iALP_ap's with probability 0.9", 0.9, chance)
        others = [name for name in RIVALS if name in pairs]
        effect = statistics.compared(ratio, *_metric(pairs, "auc_return", gate, *others))
        yield Claim("g_best", "the gate's area is not below the best of ft, ap and the rivals", 1.0, effect)
    start = pairs[gate].start or "ialp"
    if _has(pairs, start):
        curve, frozen = pairs[gate].curves["return"], pairs[start].metrics["initial_return"]
        effect = statistics.compared(lambda c, f: ratio(c[:, c.mean(0).argmin()], f), curve, frozen)
        text = f"the gate's mean never falls 2 % below frozen {style(start).name}"
        yield Claim("g_floor", text, 1 - TOLERANCE, effect)


TESTS: tuple[Test, ...] = (head_start, final_return, early_drop, baselines, labels, better_than_ap)


def claims(world: str, pairs: Pairs) -> list[Claim]:
    """All claims that can be tested in one world.

    If the user model of the world was fitted without the offline users, only (a) and (b) are tested. In such
    a world these tests form claim (f), with the ids ``f_a``, ``f_b_dqn`` and ``f_b_ialp``.

    Args:
      world: id of the world.
      pairs: agent id -> results.
    """
    if not (is_first(world) or variant(world).not_offline):
        return []  # no claim is about other sets or sources of labels
    if variant(world).not_offline:
        repeated = [*head_start(pairs), *final_return(pairs)]
        return [claim._replace(claim=f"f_{claim.claim}") for claim in repeated]
    return [claim for test in TESTS for claim in test(pairs)]


def verdicts_table(tested: Mapping[str, list[Claim]]) -> pd.DataFrame:
    """The rows of ``verdicts.csv``.

    Args:
      tested: world -> tested claims.
    """
    rows = [
        (claim.claim, world, claim.verdict, *map(float, claim.effect))
        for world, claims_of_world in tested.items()
        for claim in claims_of_world
    ]
    return pd.DataFrame(rows, columns=COLUMNS)

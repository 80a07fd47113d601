"""The paper's claims as numbers with intervals, and what they say: holds, fails or undecided.

Every claim compares an effect with a threshold. It holds where the whole 95 % interval lies on the right side
of the threshold (the threshold included), fails where the whole interval lies on the other side, and is
undecided where the threshold lies between. Intervals are those of `statistics.compared`: over seeds, in one
world with one set of labels. A claim whose agents are not all there is left out; one whose effect is no
number (a ratio to a return of 0 or less) is undecided.

The returns of an agent are those of evaluation users; ``initial`` and ``final`` are its first and last
evaluation point. A ratio is that of the means over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.reporting.styles import style
from experiments.study.settings import NOT_OFFLINE
from experiments.study.study_results import Pair
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.statistics import Estimate

COLUMNS = ["claim", "world", "verdict", "effect", "ci_low", "ci_high"]
SCRATCH = ("dqn", "pg", "a2c")
CONTROLS = ("popular", "sasrec", "a2c_warm")
RIVALS = ("a_ialp_ft", "a_ialp_ap", "pex", "jsrl", "a2c_kl", "rlpd", "wsrl")
HEAD_START = 2.6  # the paper's least ratio of initial returns
TOLERANCE = 0.02  # share of the initial return that is no drop: 256 sessions do not tell less apart
EARLY = 20_000  # env steps


class Claim(NamedTuple):
    """One claim, tested in one world.

    Attributes:
      claim: its id; the letter is the claim's, what follows tells its parts apart.
      text: what it says of the effect.
      threshold: with which the effect is compared.
      effect: its estimate.
      at_most: whether the effect must not exceed the threshold, instead of reaching it.
    """

    claim: str
    text: str
    threshold: float
    effect: Estimate
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """Holds, fails or undecided."""
        low, high = float(self.effect.low), float(self.effect.high)
        if self.at_most:
            low, high = -high, -low
        threshold = -self.threshold if self.at_most else self.threshold
        return "holds" if low >= threshold else "fails" if high < threshold else "undecided"


Pairs = Mapping[str, Pair]
Test = Callable[[Pairs], Iterator[Claim]]


def ratio(above: np.ndarray, *below: np.ndarray) -> float:
    """Mean over the highest of the other means; NaN where that is not positive."""
    best = max(part.mean() for part in below)
    return above.mean() / best if best > 0 else np.nan


def drop(returns: np.ndarray) -> float:
    """Deepest fall of the mean curve below its start, as a share of the start: returns [S, E]."""
    mean = returns.mean(axis=0)
    return (mean[0] - mean.min()) / mean[0] if mean[0] > 0 else np.nan


def _metric(pairs: Pairs, metric: str, *agents: str) -> list[np.ndarray]:
    return [pairs[agent].metrics[metric] for agent in agents]


def _has(pairs: Pairs, *agents: str) -> bool:
    return all(agent in pairs for agent in agents)


def head_start(pairs: Pairs) -> Iterator[Claim]:
    """(a) Initial return of iALP over the best initial return of DQN, PG and A2C: at least 2.6."""
    if _has(pairs, "ialp", *SCRATCH):
        effect = statistics.compared(ratio, *_metric(pairs, "initial_return", "ialp", *SCRATCH))
        yield Claim("a", "iALP starts 2.6 times as high as the best of DQN, PG, A2C", HEAD_START, effect)


def final_return(pairs: Pairs) -> Iterator[Claim]:
    """(b) Final return of A-iALP_ap over that of DQN (paper: 1.15) and of frozen iALP (2.95): at least 1."""
    for other, paper in (("dqn", 1.15), ("ialp", 2.95)):
        if _has(pairs, "a_ialp_ap", other):
            effect = statistics.compared(ratio, *_metric(pairs, "final_return", "a_ialp_ap", other))
            text = f"A-iALP_ap ends above {style(other).name} (paper: {paper} times)"
            yield Claim(f"b_{other}", text, 1.0, effect)


def early_drop(pairs: Pairs) -> Iterator[Claim]:
    """(c) A-iALP_ft drops early, A-iALP_ap does not.

    A drop is that of the mean curve over seeds, as a share of its start: the deepest point of a single noisy
    curve lies below its start in any case. ``c_ft``: that of ft within the first 20,000 env steps exceeds
    2 %. ``c_ap``: that of ap, at all points, is at most 2 %. ``c_difference``: that of ft, at all points,
    exceeds that of ap by 2 %.
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
    """(d) The order of the baselines: DQN ends above A2C and above PG.

    Known of the paper are DQN's final return (28.8 on Last.fm), by which it is the baseline that A-iALP_ap is
    compared with, and the range of all baselines' initial returns. Which of A2C and PG ends higher, and who
    starts where within the range, is not known to us and cannot be tested.
    """
    for other in ("a2c", "pg"):
        if _has(pairs, "dqn", other):
            effect = statistics.compared(ratio, *_metric(pairs, "final_return", "dqn", other))
            yield Claim(f"d_{other}", f"DQN ends above {style(other).name}", 1.0, effect)


def labels(pairs: Pairs) -> Iterator[Claim]:
    """(e) What the labels add: iALP, ft, ap over popular, SASRec, a2c_warm, initial and final: at least 1."""
    for agent in ("ialp", "a_ialp_ft", "a_ialp_ap"):
        for when, what in (("initial", "starts"), ("final", "ends")):
            for other in CONTROLS:
                if _has(pairs, agent, other):
                    effect = statistics.compared(ratio, *_metric(pairs, f"{when}_return", agent, other))
                    text = f"{style(agent).name} {what} above {style(other).name}"
                    yield Claim(f"e_{agent}_{when}_{other}", text, 1.0, effect)


def better_than_ap(pairs: Pairs) -> Iterator[Claim]:
    """(g) Our own goal for the adaptive gate, not the paper's.

    ``g_area``: its area under the curve over that of ap, at least 1.1. ``g_probability``: the probability
    that its area exceeds ap's, at least 0.9. ``g_best``: its area over the best one of ft, ap and the rivals,
    at least 1. ``g_floor``: the least ratio, over all points, of its mean return to frozen iALP's, at least
    0.98.
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
    if _has(pairs, "ialp"):
        curve, frozen = pairs[gate].curves["return"], pairs["ialp"].metrics["initial_return"]
        effect = statistics.compared(lambda c, f: ratio(c[:, c.mean(0).argmin()], f), curve, frozen)
        yield Claim("g_floor", "the gate's mean never falls 2 % below frozen iALP", 1 - TOLERANCE, effect)


TESTS: tuple[Test, ...] = (head_start, final_return, early_drop, baselines, labels, better_than_ap)


def claims(world: str, pairs: Pairs) -> list[Claim]:
    """All claims that can be tested in one world.

    (f) is (a) and (b), with ids ``f_a``, ``f_b_dqn`` and ``f_b_ialp``, in a world whose user model was fitted
    without the offline users; nothing else is tested there.

    Args:
      world: id.
      pairs: results by agent id.
    """
    if world.endswith(NOT_OFFLINE):
        again = [*head_start(pairs), *final_return(pairs)]
        return [claim._replace(claim=f"f_{claim.claim}") for claim in again]
    return [claim for test in TESTS for claim in test(pairs)]


def verdicts_table(tested: Mapping[str, list[Claim]]) -> pd.DataFrame:
    """Rows of ``verdicts.csv`` from the claims by world."""
    rows = [
        (claim.claim, world, claim.verdict, *map(float, claim.effect))
        for world, found in tested.items()
        for claim in found
    ]
    return pd.DataFrame(rows, columns=COLUMNS)

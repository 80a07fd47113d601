"""The main findings in sentences, computed from the summary table."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from experiments.reporting.styles import REFERENCE, SCRATCH, style


class Finding(NamedTuple):
    """A sentence under a short heading; ``warning`` where it casts doubt on the run."""

    heading: str
    text: str
    warning: bool = False


class _Table:
    """The summary of one world, read by agent and metric."""

    def __init__(self, summary: pd.DataFrame) -> None:
        self.rows = {(row.agent, row.metric): row for row in summary.itertuples()}
        self.agents = list(dict.fromkeys(summary.agent))

    def mean(self, agent: str, metric: str) -> float:
        return float(self.rows[agent, metric].mean)

    def value(self, agent: str, metric: str) -> str:
        """``5.11 [4.90, 5.32]``; without the interval where there is none."""
        row = self.rows[agent, metric]
        if math.isnan(row.ci_low):
            return f"{row.mean:.2f}"
        return f"{row.mean:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"

    def best(self, agents: list[str], metric: str) -> str | None:
        """Agent with the highest mean; None where no agent has one."""
        finite = [agent for agent in agents if math.isfinite(self.mean(agent, metric))]
        return max(finite, key=lambda agent: self.mean(agent, metric), default=None)

    def group(self, group: str) -> list[str]:
        return [agent for agent in self.agents if style(agent).group == group]

    def versus(self, agent: str, other: str, metric: str, what: str) -> str:
        """``3.1 times WHAT with 1.64 [1.50, 1.78]``, and whether the intervals overlap."""
        mine, theirs = self.rows[agent, metric], self.rows[other, metric]
        if theirs.mean > 0:
            ratio = mine.mean / theirs.mean
            compared = f"{ratio:,.{2 if ratio < 2 else 1 if ratio < 100 else 0}f} times"
        else:
            side = "above" if mine.mean >= theirs.mean else "below"
            compared = f"{abs(mine.mean - theirs.mean):.2f} {side}"
        text = f"{compared} {what} with {self.value(other, metric)}"
        if mine.ci_low <= theirs.ci_high and theirs.ci_low <= mine.ci_high:
            text += " (the intervals overlap)"
        return text


def _head_start(table: _Table) -> Finding | None:
    baseline = table.best(table.group(SCRATCH), "initial_return")
    if "ialp" not in table.agents or baseline is None:
        return None
    what = f"that of the best baseline from scratch, {style(baseline).name}"
    against = table.versus("ialp", baseline, "initial_return", what)
    start = table.value("ialp", "initial_return")
    return Finding("Head start", f"iALP starts at a return of {start}, {against}.")


def _final(table: _Table) -> Finding | None:
    learners = [agent for agent in table.agents if style(agent).group != REFERENCE]
    best = table.best(learners, "final_return")
    if best is None or len(learners) < 2:
        return None
    text = f"{style(best).name} ends highest, at {table.value(best, 'final_return')}."
    if "a_ialp_ap" not in table.agents:
        return Finding("Final return", text)
    baseline = table.best(table.group(SCRATCH), "final_return")
    others = [(baseline, f"the best baseline from scratch, {style(baseline).name},")] if baseline else []
    others += [("ialp", "frozen iALP")] if "ialp" in table.agents else []
    against = [table.versus("a_ialp_ap", other, "final_return", what) for other, what in others]
    mine = f"A-iALP_ap ends at {table.value('a_ialp_ap', 'final_return')}:"
    if best == "a_ialp_ap":
        mine = "That is"
    if against:
        text += f" {mine} {', and '.join(against)}."
    return Finding("Final return", text)


def _worst_drop(table: _Table) -> Finding | None:
    adaptive = [agent for agent in ("a_ialp_ft", "a_ialp_ap", "a_ialp_gate") if agent in table.agents]
    if not adaptive:
        return None
    drops = ", ".join(f"{style(agent).name} by {table.value(agent, 'worst_drop')}" for agent in adaptive)
    return Finding("Worst drop", f"While adapting, the return falls below its initial value: {drops}.")


def _without_labels(table: _Table) -> Finding | None:
    controls = [agent for agent in ("popular", "sasrec", "a2c_warm") if agent in table.agents]
    if "ialp" not in table.agents or not controls:
        return None
    starts = [f"{style(agent).name} starts at {table.value(agent, 'initial_return')}" for agent in controls]
    return Finding("Without any LLM", f"Made from the same logs alone, {', '.join(starts)}.")


def _sanity(table: _Table) -> Finding | None:
    order = [agent for agent in ("random", "popular", "oracle") if agent in table.agents]
    if len(order) < 3:
        return None
    means = [table.mean(agent, "final_return") for agent in order]
    highest = table.best(table.agents, "final_return")
    if means[0] < means[1] and highest == "oracle":
        text = " < ".join(f"{agent} {mean:.2f}" for agent, mean in zip(order, means, strict=True))
        return Finding("Sanity of the world", f"The references stand in order, the oracle above all: {text}.")
    text = ", ".join(f"{agent} {mean:.2f}" for agent, mean in zip(order, means, strict=True))
    why = "Random is not below popular"
    if highest is not None and highest != "oracle":
        why = f"{style(highest).name} is above the oracle"
    return Finding("Distrust this world", f"{why}: {text}.", warning=True)


def _non_finite(table: _Table) -> Finding | None:
    lost = [style(agent).name for agent in table.agents if not math.isfinite(table.mean(agent, "auc_return"))]
    if not lost:
        return None
    return Finding("Not a number", f"The return of {', '.join(lost)} is not finite.", warning=True)


def findings(summary: pd.DataFrame) -> list[Finding]:
    """Put the summary of one world into sentences; agents that are absent are not spoken of.

    Args:
      summary: rows of ``summary.csv`` of one world.
    """
    table = _Table(summary)
    found = (_head_start, _final, _worst_drop, _without_labels, _sanity, _non_finite)
    return [finding for find in found if (finding := find(table)) is not None]

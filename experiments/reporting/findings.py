"""The main findings in sentences, computed from the results; bad news comes first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import binomtest

from experiments.agents import AGENTS, LABELS, LOGS, REFERENCE, SCRATCH, group_of
from experiments.reporting.styles import style
from ialp_jax.agents import registry
from ialp_jax.evaluation.metrics import LATE
from ialp_jax.evaluation.sanity import world_checks
from ialp_jax.evaluation.statistics import Estimate
from ialp_jax.labelling.audit import LLM, POPULARITY, SHUFFLED

INVALID_SHARE = 0.05  # Largest acceptable share of prompts without a valid answer.
DROP_SHARE = 0.25  # Largest acceptable drop during adaptation, as a share of the initial return.
_REFERENCES = [name for name, record in AGENTS.items() if record.group == REFERENCE]
_ORACLES = [name for name in _REFERENCES if registry.record(name).privileged]
_SIMPLE = [name for name in reversed(_REFERENCES) if name not in _ORACLES]  # the stronger first


class Finding(NamedTuple):
    """A sentence under a heading; ``warning`` is true for bad news and for doubts about the run."""

    heading: str
    text: str
    warning: bool = False


class _Table:
    """The summary table of one world, indexed by agent and metric."""

    def __init__(self, summary: pd.DataFrame) -> None:
        self.rows = {(row.agent, row.metric): row for row in summary.itertuples()}
        self.agents = list(dict.fromkeys(summary.agent))
        self.starts = starts(summary)
        self.fewest_seeds = int(summary.num_seeds.min())

    def mean(self, agent: str, metric: str) -> float:
        return float(self.rows[agent, metric].mean)

    def value(self, agent: str, metric: str) -> str:
        """Mean and interval such as ``5.11 [4.90, 5.32]``, or only the mean if the interval is not known."""
        row = self.rows[agent, metric]
        if not math.isfinite(row.mean):
            return "a return that is not finite"
        if math.isnan(row.ci_low):
            return f"{row.mean:.2f}"
        return f"{row.mean:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"

    def best(self, agents: list[str], metric: str) -> str | None:
        """Agent with the highest mean; None if no agent has a finite mean."""
        finite = [agent for agent in agents if math.isfinite(self.mean(agent, metric))]
        return max(finite, key=lambda agent: self.mean(agent, metric), default=None)

    def group(self, group: str) -> list[str]:
        return [agent for agent in self.agents if group_of(agent, self.starts[agent]) == group]

    def frozen(self) -> list[str]:
        """Policies that are pre-trained on labels and do not learn online."""
        return [agent for agent in self.group(LABELS) if not registry.learns(agent)]

    def adapted(self) -> list[str]:
        """Agents that start from labels and learn online."""
        return [agent for agent in self.group(LABELS) if registry.learns(agent)]

    def rivals(self, metric: str) -> dict[str, str]:
        """Maps agents without an LLM, which label-trained agents should beat, to their names in sentences."""
        baseline = self.best(self.group(SCRATCH), metric)
        rivals = {name: style(name).name for name in _SIMPLE if name in self.agents}
        if baseline:
            rivals[baseline] = f"the best baseline from scratch, {style(baseline).name},"
        rivals |= {name: style(name).name for name in self.group(LOGS)}
        return {name: text for name, text in rivals.items() if math.isfinite(self.mean(name, metric))}

    def versus(self, agent: str, other: str, metric: str, what: str) -> str:
        """Compares two agents as in ``3.1 times WHAT with 1.64 [1.50, 1.78]``; says if intervals overlap."""
        mine, theirs = self.rows[agent, metric], self.rows[other, metric]
        if theirs.mean > 0:
            ratio = mine.mean / theirs.mean
            compared = f"{ratio:,.{2 if ratio < 2 else 1 if ratio < 100 else 0}f} times"
        else:
            side = "above" if mine.mean >= theirs.mean else "below"
            compared = f"{abs(mine.mean - theirs.mean):.2f} {side}"
        text = f"{compared} {what} with {self.value(other, metric)}"
        return text + (" (the intervals overlap)" if self.overlap(agent, other, metric) else "")

    def overlap(self, agent: str, other: str, metric: str) -> bool:
        """Whether the intervals of two agents overlap; false if one agent has no interval."""
        mine, theirs = self.rows[agent, metric], self.rows[other, metric]
        return bool(mine.ci_low <= theirs.ci_high and theirs.ci_low <= mine.ci_high)


def starts(summary: pd.DataFrame) -> dict[str, str]:
    """Maps the agents of a summary to the pre-trainings from which they start; empty text: from scratch.

    A summary without this column is of an earlier version, in which agents had only their default start.
    """
    if "starts_from" not in summary:
        return {agent: registry.starts_from(agent, {}) for agent in summary.agent.unique()}
    return dict(zip(summary.agent, summary.starts_from.fillna(""), strict=True))


def _comparison(table: _Table, agent: str, metric: str, verb: str, good: str, bad: str) -> list[Finding]:
    """Compares an agent with its rivals: rivals above the agent are bad news, other rivals are good news."""
    if not math.isfinite(table.mean(agent, metric)):
        return []
    mine, name = table.mean(agent, metric), style(agent).name
    value, comparisons = table.value(agent, metric), []
    rivals = table.rivals(metric)
    above = [rival for rival in rivals if table.mean(rival, metric) > mine]
    for group, heading in ((above, bad), ([rival for rival in rivals if rival not in above], good)):
        if group:
            text = "; ".join(table.versus(agent, rival, metric, rivals[rival]) for rival in group)
            comparisons.append(Finding(heading, f"{name} {verb} {value}: {text}.", heading == bad))
    return comparisons


def _head_start(table: _Table) -> list[Finding]:
    words = ("starts at a return of", "Head start", "The head start is below others")
    lists = (_comparison(table, agent, "initial_return", *words) for agent in table.frozen())
    return [finding for comparisons in lists for finding in comparisons]


def _final(table: _Table) -> list[Finding]:
    learners = [agent for agent in table.agents if group_of(agent) != REFERENCE]
    best = table.best(learners, "final_return")
    if best is None or len(learners) < 2:
        return []
    highest = Finding("Highest at the end", f"{style(best).name}, at {table.value(best, 'final_return')}.")
    headlines = [agent for agent in table.adapted() if AGENTS[agent].headline]
    agent = headlines[0] if headlines else table.best(table.adapted(), "final_return")
    if not agent:
        return [highest]
    words = ("ends at", "Final return", "The final return is below others")
    return [highest, *_comparison(table, agent, "final_return", *words), *_gain(table, agent)]


def _gain(table: _Table, agent: str) -> list[Finding]:
    """Compares the final returns of an agent and of the frozen policy from which the agent started."""
    frozen = table.starts[agent]
    both = [name for name in (agent, frozen) if name in table.agents]
    if len(both) < 2 or not all(math.isfinite(table.mean(name, "final_return")) for name in both):
        return []
    comparison = table.versus(agent, frozen, "final_return", f"frozen {style(frozen).name}")
    worse = table.mean(agent, "final_return") < table.mean(frozen, "final_return")
    unclear = table.overlap(agent, frozen, "final_return")
    gain = "Adapting is not shown to gain" if unclear else "Adapting gained"
    heading = "Adapting lost" if worse else gain
    return [Finding(heading, f"{style(agent).name} ends at {comparison}.", worse or unclear)]


def _stagnation(table: _Table, gains: Mapping[str, Estimate]) -> list[Finding]:
    """Names the learners whose return no longer rises. It is bad news if another learner ends clearly higher.

    A return no longer rises if the 95 % interval of the gain over the last fifth of the run is not above 0.
    With one seed there is no interval, so the function names nobody.
    """
    best = table.best([agent for agent in gains if agent in table.agents], "final_return")
    parts: dict[bool, list[str]] = {True: [], False: []}
    for agent, gain in gains.items():
        if best and agent in table.agents and gain.low <= 0:  # false if there is no interval
            end, highest = table.rows[agent, "final_return"], table.rows[best, "final_return"]
            text = f"{style(agent).name} {gain.point:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
            parts[bool(end.ci_high < highest.ci_low)].append(text)
    sentence = "Gain over the last {:.0%} of the run, compared with the part before: {}."
    headings = {True: "Stagnates below others", False: "No more gain"}
    return [
        Finding(headings[bad], sentence.format(LATE, "; ".join(texts)), bad)
        for bad, texts in parts.items()
        if texts
    ]


def _worst_drop(table: _Table) -> list[Finding]:
    parts: dict[bool, list[str]] = {True: [], False: []}
    for agent in table.adapted():
        start, drop = table.mean(agent, "initial_return"), table.mean(agent, "worst_drop")
        if math.isfinite(start) and math.isfinite(drop):
            share = f", {drop / start:.0%} of its initial return" if start > 0 else ""
            text = f"{style(agent).name} by {table.value(agent, 'worst_drop')}{share}"
            parts[start > 0 and drop > DROP_SHARE * start].append(text)
    sentence = "While adapting, the return falls below its initial value at most: {}."
    headings = {True: "Large drop", False: "Worst drop"}
    return [
        Finding(headings[bad], sentence.format("; ".join(texts)), bad)
        for bad, texts in parts.items()
        if texts
    ]


def _world(table: _Table, facts: Mapping[str, float]) -> list[Finding]:
    """Whether the simulated users can tell good policies from bad ones."""
    checks = world_checks(facts)
    doubts = [
        Finding("Doubtful world", f"It fails that {check.demand} ({check.figures}).", warning=True)
        for check in checks
        if not check.holds
    ]
    highest = table.best(table.agents, "final_return")
    if highest is None or not any(name in table.agents for name in _ORACLES):
        return doubts
    returns = ", ".join(
        f"{style(name).name} {table.value(name, 'final_return')}"
        for name in dict.fromkeys((*_REFERENCES, highest))
        if name in table.agents
    )
    if highest not in _ORACLES:
        doubts.append(
            Finding("Doubtful world", f"{style(highest).name} is above the oracle: {returns}.", True)
        )
    if doubts:
        return doubts
    passed = "It passes its checks, and nothing" if checks else "Nothing"
    return [Finding("The world", f"{passed} is above the oracle: {returns}.")]


def _audit(table: pd.DataFrame | None) -> list[Finding]:
    """Whether the label model knows more than popularity, and whether this model uses the history."""
    rows = {} if table is None else {(row.source, row.metric): row for row in table.itertuples()}
    comparisons = []
    for other, what, bad in (
        (POPULARITY, "popularity", "The labels are not shown to beat popularity"),
        (SHUFFLED, "itself after another user's history", "The labels are not shown to use the history"),
    ):
        needed = (LLM, "auc"), (other, "auc"), (LLM, f"auc_minus_{other}")
        if not all(key in rows for key in needed):
            continue
        mine, theirs, gain = (rows[key] for key in needed)
        interval = "" if math.isnan(gain.ci_low) else f" [{gain.ci_low:+.3f}, {gain.ci_high:+.3f}]"
        text = f"AUC of the LLM {mine.value:.3f}, of {what} {theirs.value:.3f}: {gain.value:+.3f}{interval}."
        better = gain.ci_low > 0
        comparisons.append(Finding("Audit of the labels" if better else bad, text, not better))
    return comparisons


def _invalid(counts: Mapping[str, Any]) -> list[Finding]:
    """The share of prompts without a valid answer, with Wilson's interval."""
    prompts, causes = counts.get("prompts", 0), counts.get("invalid", {})
    number = sum(causes.values())
    if not prompts or number <= INVALID_SHARE * prompts:
        return []
    low, high = binomtest(number, prompts).proportion_ci(method="wilson")
    text = (
        f"{number:,} of {prompts:,} prompts have no valid answer: {number / prompts:.1%} "
        f"[{low:.1%}, {high:.1%}], more than {INVALID_SHARE:.0%}."
    )
    return [Finding("Invalid labels", text, warning=True)]


def _not_known(table: _Table) -> list[Finding]:
    """Questions that this run leaves open."""
    doubts = []
    lost = [style(agent).name for agent in table.agents if not math.isfinite(table.mean(agent, "auc_return"))]
    if lost:
        doubts.append(
            Finding("Not a number", f"The return of {', '.join(lost)} is not finite.", warning=True)
        )
    absent = [style(name).name for name in _SIMPLE if name not in table.agents]
    if not table.group(SCRATCH):
        absent.append("any baseline from scratch")
    if table.group(LABELS) and absent:
        text = f"This run did not include {', '.join(absent)}: whether the labels help is not known."
        doubts.append(Finding("Not compared", text, warning=True))
    if table.fewest_seeds == 1 and any(group_of(agent) != REFERENCE for agent in table.agents):
        text = "Some agents ran with one random seed: no interval, and any difference may be chance."
        doubts.append(Finding("One seed", text, warning=True))
    return doubts


def findings(
    summary: pd.DataFrame,
    audit: pd.DataFrame | None = None,
    facts: Mapping[str, float] | None = None,
    counts: Mapping[str, Any] | None = None,
    gains: Mapping[str, Estimate] | None = None,
) -> list[Finding]:
    """Puts the results of one world into sentences, bad news first.

    Args:
      summary: rows of ``summary.csv`` of one world.
      audit: rows of the audit's ``labels.csv``, if there was an audit.
      facts: metric -> value of ``worlds.csv``.
      counts: ``counts`` in the manifest of the labels.
      gains: agent that learns online -> its late gain over seeds, see `metrics.late_gain`.

    Returns:
      Warnings, then the other findings. Comparisons have an interval if it is known. Agents that did not run
      are named only if a comparison with them is missing.
    """
    table = _Table(summary)
    all_findings = [
        *_head_start(table),
        *_final(table),
        *_audit(audit),
        *_world(table, facts or {}),
        *_invalid(counts or {}),
        *_worst_drop(table),
        *_stagnation(table, gains or {}),
        *_not_known(table),
    ]
    return sorted(all_findings, key=lambda finding: not finding.warning)

"""Makes the tables of a study as Markdown, and inserts them into Markdown files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiments.agents import space_of
from experiments.reporting.page import COLUMNS, written
from experiments.reporting.styles import ordered, style
from experiments.study.study_results import Pair, StudyResults
from experiments.study.study_tables import normalised_scores
from experiments.study.variants import is_first
from experiments.study.verdicts import Claim
from ialp_jax.errors import InputError

_TABLE_METRICS = (
    "initial_return",
    "final_return",
    "auc_return",
    "worst_drop",
    "regain_steps",
    "final_length",
    "coverage",
)
HEADLINE = ("popular", "oracle", "dqn", "sasrec", "a2c_warm", "ialp", "ialp_soft", "a_ialp_ft", "a_ialp_ap")
_HEADINGS = {**COLUMNS, "regain_steps": ("regained after", "{:,.0f}".format, False)}


def overview_markdown(results: StudyResults, summary: pd.DataFrame) -> str:
    """All worlds in one table: initial and final return, with the interval of the final one.

    A fixed policy has only one return.
    """
    return _returns_markdown(results.pairs, summary)


def headline_markdown(results: StudyResults, summary: pd.DataFrame) -> str:
    """The overview with the agents of `HEADLINE`, without the second run of a world."""
    pairs = {
        world: {agent: pair for agent, pair in agents.items() if agent in HEADLINE}
        for world, agents in results.pairs.items()
        if is_first(world)
    }
    return _returns_markdown(pairs, summary)


def _returns_markdown(pairs: Mapping[str, Mapping[str, Pair]], summary: pd.DataFrame) -> str:
    """A table with a row per agent and a column per world."""
    cells = summary.set_index(["world", "agent", "metric"])
    worlds = list(pairs)
    lines = ["| agent | " + " | ".join(worlds) + " |", "| --- |" + " ---: |" * len(worlds)]
    for agent in ordered({agent for agents in pairs.values() for agent in agents}):
        row = []
        for world, agents in pairs.items():
            if agent not in agents:
                row.append("")
                continue
            first, last = (cells.loc[world, agent, f"{when}_return"] for when in ("initial", "final"))
            mean, interval = written(last, "{:.1f}".format)
            is_fixed = len(agents[agent].env_steps) == 2
            row.append(f"{mean} {interval}" if is_fixed else f"{first['mean']:.1f} → {mean} {interval}")
        lines.append(f"| {style(agent).name} | " + " | ".join(cell.strip() for cell in row) + " |")
    rows_by_world = {world: summary[summary.world == world] for world in worlds}
    notes = {world: _temperatures(rows_by_world[world], agents) for world, agents in pairs.items()}
    if any(notes.values()):
        texts = (f"{world}: {text}" for world, text in notes.items() if text)
        lines += ["", f"Temperatures of the pre-trained policies: {'; '.join(texts)}."]
    return "\n".join([*lines, ""])


def _temperatures(rows: pd.DataFrame, agents: Collection[str]) -> str:
    """The temperature of each pre-trained policy among ``agents``, from the summary of one world."""
    temperatures = rows.groupby("starts_from").temperature.first().dropna()
    return ", ".join(
        f"{style(name).name} {temperatures[name]:g}"
        for name in ordered(temperatures.index)
        if any(rows[rows.agent == agent].starts_from.iloc[0] == name for agent in agents)
    )


def results_markdown(results: StudyResults, summary: pd.DataFrame, prefix: str = "") -> str:
    """The result tables, one per world, each with its figure; links to figures begin with ``prefix``."""
    lines = []
    has_across = bool(normalised_scores(results.pairs, "final_return"))
    for world, agents in results.pairs.items():
        rows = summary[summary.world == world]
        steps = max(int(pair.env_steps[-1]) for pair in agents.values())
        headings = [_HEADINGS[metric][0] for metric in _TABLE_METRICS]
        lines += [f"**{world}** ({rows.num_seeds.max()} seeds, {steps:,} env steps)", ""]
        lines += ["| agent | " + " | ".join(headings) + " |", "| --- |" + " ---: |" * len(headings)]
        for agent in ordered(agents):
            by_metric = rows[rows.agent == agent].set_index("metric")
            cells = []
            for metric in _TABLE_METRICS:
                mean, interval = written(by_metric.loc[metric], _HEADINGS[metric][1])
                cells.append(
                    f"{mean} {interval}".strip() if metric in ("initial_return", "final_return") else mean
                )
            lines.append(f"| {style(agent).name} | " + " | ".join(cells) + " |")
        if temperatures := _temperatures(rows, agents):
            lines += ["", f"Temperatures of the pre-trained policies: {temperatures}."]
        if untuned := _untuned(results.config["pairs"][world]):
            names = ", ".join(style(name).name for name in untuned)
            lines += ["", f"These agents ran with default settings, without a search: {names}."]
        if len(sets := _label_sets(results.config["pairs"][world])) > 1:
            groups = "; ".join(", ".join(style(name).name for name in names) for names in sets)
            lines += ["", f"The agents use {len(sets)} sets of labels, made on different machines: {groups}."]
        lines += ["", f"![Return and length over env steps in {world}]({prefix}{world}.svg)", ""]
    lines += [f"![All worlds together]({prefix}across.svg)", ""] if has_across else []
    return "\n".join(lines)


def _untuned(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return ordered(name for name, record in records.items() if space_of(name) and not record["tuned"])


def _label_sets(records: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Groups methods by their set of labels, because labels from different machines can differ."""
    sets: dict[str, list[str]] = {}
    for name in ordered(name for name, record in records.items() if record.get("labels")):
        sets.setdefault(records[name]["labels"], []).append(name)
    return list(sets.values())


def verdicts_markdown(tested: Mapping[str, list[Claim]]) -> str:
    """The verdicts as one table: a row per claim, a column per world."""
    worlds = list(tested)
    by_world = {world: {claim.claim: claim for claim in claims} for world, claims in tested.items()}
    ids = sorted({claim: None for claims in by_world.values() for claim in claims}, key=lambda name: name[0])
    lines = ["| claim | " + " | ".join(["", *worlds]) + " |", "| --- | --- |" + " --- |" * len(worlds)]
    for name in ids:
        tests = [by_world[world].get(name) for world in worlds]
        text = next(claim.text for claim in tests if claim)
        lines.append(f"| {name} | {text} | " + " | ".join(_verdict(claim) for claim in tests) + " |")
    return "\n".join([*lines, ""])


def _verdict(claim: Claim | None) -> str:
    if claim is None:
        return ""
    point, low, high = map(float, claim.effect)
    interval = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{claim.verdict}: {point:.2f}{interval}"


def replace_blocks(text: str, blocks: Mapping[str, str], where: str) -> str:
    """Replaces the lines between ``<!-- study:NAME -->`` and ``<!-- /study:NAME -->``.

    Args:
      text: text of a Markdown file that has the markers of at least one block.
      blocks: NAME -> new lines. A block without markers in ``text`` is not used.
      where: name of the file for error messages.

    Raises:
      InputError: ``text`` has no markers, or a marker is missing or occurs twice.
    """
    marked = [name for name in blocks if re.search(rf"<!-- /?study:{name} -->", text)]
    if not marked:
        names = ", ".join(f"<!-- study:{name} -->" for name in blocks)
        raise InputError(f"{where}: has no markers of tables; add one of {names} and its <!-- /study:... -->")
    for name in marked:
        start, end = f"<!-- study:{name} -->", f"<!-- /study:{name} -->"
        pattern = rf"({start}\r?\n).*?({end})"
        if text.count(start) != 1 or text.count(end) != 1 or not re.search(pattern, text, re.DOTALL):
            raise InputError(f"{where}: needs the lines {start} and {end}, once each and in this order")
        text = re.sub(
            pattern, lambda match, name=name: match[1] + blocks[name] + match[2], text, flags=re.DOTALL
        )
    return text

"""Writes the report of a study from its ``config.json`` and ``curves.csv``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.agents import space_of
from experiments.reporting.page import COLUMNS, written
from experiments.reporting.report import SUMMARY_COLUMNS, console_table
from experiments.reporting.styles import ordered, style
from experiments.study import study_figures
from experiments.study.settings import NOT_OFFLINE
from experiments.study.study_results import Pair, StudyResults, read_results
from experiments.study.verdicts import Claim, claims, verdicts_table
from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.evaluation import statistics

IQM_COLUMNS = ["iqm_ci_low", "iqm_ci_high"]
ACROSS_COLUMNS = ["agent", "metric", "statistic", "other", "value", "ci_low", "ci_high", "num_worlds"]
RIVAL = "a_ialp_ap"  # the probability of improvement compares each agent with this one
_TABLE_METRICS = (
    "initial_return",
    "final_return",
    "auc_return",
    "worst_drop",
    "regain_steps",
    "final_length",
    "coverage",
)
_HEADINGS = {**COLUMNS, "regain_steps": ("regained after", "{:,.0f}".format, False)}


def summary_table(pairs: Mapping[str, Mapping[str, Pair]]) -> pd.DataFrame:
    """Rows of ``summary.csv``: each metric of each method in each world, over its S seeds.

    ``ci_low`` and ``ci_high`` bound the mean's interval, ``iqm_ci_low`` and ``iqm_ci_high`` the IQM's.
    """
    rows = []
    for world, agents in pairs.items():
        for agent in ordered(agents):
            metrics = agents[agent].metrics
            scores = np.stack(list(metrics.values()), axis=1)
            mean, iqm = statistics.estimate(scores), statistics.estimate(scores, statistics.iqm)
            for i, metric in enumerate(metrics):
                of_mean = mean.point[i], iqm.point[i], mean.low[i], mean.high[i]
                of_iqm = iqm.low[i], iqm.high[i]
                rows.append((world, agent, metric, *map(float, of_mean), len(scores), *map(float, of_iqm)))
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *IQM_COLUMNS])


def normalised_scores(pairs: Mapping[str, Mapping[str, Pair]], metric: str) -> dict[str, np.ndarray]:
    """Scores [S, W] on a scale with random at 0 and oracle at 1, by agent id.

    Contains the agents that ran in every world. A world that runs twice counts once. Empty if random or
    oracle did not run.
    """
    worlds = [agents for world, agents in pairs.items() if not world.endswith(NOT_OFFLINE)]
    if not all({"random", "oracle"} <= agents.keys() for agents in worlds):
        return {}
    common = [name for name in worlds[0] if all(name in agents for agents in worlds)] if worlds else []
    scores = {}
    for agent in ordered(common):
        columns = []
        for agents in worlds:
            floor, ceiling = (agents[name].metrics["final_return"].mean() for name in ("random", "oracle"))
            columns.append(statistics.normalised(agents[agent].metrics[metric], floor, ceiling))
        scores[agent] = np.stack(columns, axis=1)
    return scores


def across_table(pairs: Mapping[str, Mapping[str, Pair]]) -> pd.DataFrame:
    """Rows of ``across.csv``: mean, IQM and probability of improvement over all runs in all worlds."""
    rows = []
    for metric in ("final_return", "auc_return"):
        scores = normalised_scores(pairs, metric)
        for agent, of_agent in scores.items():
            estimates = [(name, "", statistics.over_worlds(of_agent, name)) for name in ("mean", "iqm")]
            if RIVAL in scores and agent != RIVAL:
                chance = statistics.probability_of_improvement(of_agent, scores[RIVAL])
                estimates.append(("probability_of_improvement", RIVAL, chance))
            rows += [
                (agent, metric, name, other, *map(float, estimate), of_agent.shape[1])
                for name, other, estimate in estimates
            ]
    return pd.DataFrame(rows, columns=ACROSS_COLUMNS)


def overview_markdown(results: StudyResults, summary: pd.DataFrame) -> str:
    """All worlds in one table: initial and final return, with the interval of the final one.

    A fixed policy has one return.
    """
    cells = summary.set_index(["world", "agent", "metric"])
    worlds = list(results.pairs)
    lines = ["| agent | " + " | ".join(worlds) + " |", "| --- |" + " ---: |" * len(worlds)]
    for agent in ordered({agent for agents in results.pairs.values() for agent in agents}):
        row = []
        for world, agents in results.pairs.items():
            if agent not in agents:
                row.append("")
                continue
            first, last = (cells.loc[world, agent, f"{when}_return"] for when in ("initial", "final"))
            mean, interval = written(last, "{:.1f}".format)
            is_fixed = len(agents[agent].env_steps) == 2
            row.append(f"{mean} {interval}" if is_fixed else f"{first['mean']:.1f} → {mean} {interval}")
        lines.append(f"| {style(agent).name} | " + " | ".join(cell.strip() for cell in row) + " |")
    return "\n".join([*lines, ""])


def results_markdown(results: StudyResults, summary: pd.DataFrame, prefix: str = "") -> str:
    """The result tables, one per world, each with its figure; links to figures begin with ``prefix``."""
    lines = []
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
        if untuned := _untuned(results.config["pairs"][world]):
            names = ", ".join(style(name).name for name in untuned)
            lines += ["", f"These agents ran with default settings, without a search: {names}."]
        if len(sets := _label_sets(results.config["pairs"][world])) > 1:
            groups = "; ".join(", ".join(style(name).name for name in names) for names in sets)
            lines += ["", f"The agents use {len(sets)} sets of labels, made on different machines: {groups}."]
        lines += ["", f"![Return and length over env steps in {world}]({prefix}{world}.svg)", ""]
    lines += [f"![All worlds together]({prefix}across.svg)", ""] if _across(results.pairs) else []
    return "\n".join(lines)


def _untuned(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return ordered(name for name, record in records.items() if space_of(name) and not record["tuned"])


def _label_sets(records: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Groups methods by their set of labels; machines round differently, so their labels differ."""
    sets: dict[str, list[str]] = {}
    for name in ordered(name for name, record in records.items() if record.get("labels")):
        sets.setdefault(records[name]["labels"], []).append(name)
    return list(sets.values())


def _across(pairs: Mapping[str, Mapping[str, Pair]]) -> bool:
    return bool(normalised_scores(pairs, "final_return"))


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
      text: of a Markdown file that has the markers of at least one block.
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


def write_report(folder: Path, readmes: Sequence[Path] = ()) -> str:
    """Writes tables and figures into the folder of the results.

    The files are ``summary.csv``, ``across.csv``, ``verdicts.csv``, ``<world>.svg``, ``across.svg`` (only if
    random and oracle ran), ``table.md`` and ``verdicts.md``.

    Args:
      folder: folder of the results.
      readmes: Markdown files; the blocks between their markers ``study:overview``, ``study:table`` and
        ``study:verdicts`` are replaced.

    Returns:
      The tables for the console.

    Raises:
      InputError: there are no results, a file is broken, or a Markdown file has no markers.
    """
    results = read_results(folder)
    summary, across = summary_table(results.pairs), across_table(results.pairs)
    tested = {world: claims(world, agents) for world, agents in results.pairs.items()}
    for name, table in (("summary", summary), ("across", across), ("verdicts", verdicts_table(tested))):
        store.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    for world, agents in results.pairs.items():
        figure = study_figures.world_figure(world, agents)
        store.write_text(folder / f"{world}.svg", study_figures.svg(figure))
    if scores := normalised_scores(results.pairs, "final_return"):
        figure = study_figures.across_figure(across, scores, RIVAL)
        store.write_text(folder / "across.svg", study_figures.svg(figure))
    verdicts = verdicts_markdown(tested)
    store.write_text(folder / "table.md", results_markdown(results, summary))
    store.write_text(folder / "verdicts.md", verdicts)
    for readme in readmes:
        prefix = os.path.relpath(folder.resolve(), readme.resolve().parent).replace(os.sep, "/") + "/"
        blocks = {
            "overview": overview_markdown(results, summary),
            "table": results_markdown(results, summary, prefix),
            "verdicts": verdicts,
        }
        _update_readme(readme, blocks)
    return f"{console_table(summary)}\n\n{verdicts}"


def _update_readme(readme: Path, blocks: Mapping[str, str]) -> None:
    """Replaces the blocks of a Markdown file; keeps its line ends and mode, and keeps a symbolic link."""
    try:
        text, mode = readme.read_bytes().decode("utf-8"), readme.stat().st_mode
    except OSError as error:
        raise InputError(f"--config.readme={readme}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"--config.readme={readme}: not UTF-8 text; convert it") from None
    line_end = "\r\n" if "\r\n" in text else "\n"
    blocks = {name: block.replace("\n", line_end) for name, block in blocks.items()}
    text = replace_blocks(text, blocks, f"--config.readme={readme}")
    store.write_text(readme.resolve(), text)
    readme.chmod(mode)

"""The report of a study, made from its ``config.json`` and ``curves.csv`` alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
RIVAL = "a_ialp_ap"  # over whom improvement is measured
_SHOWN = (
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

    ``ci_low`` and ``ci_high`` are the mean's interval, ``iqm_ci_low`` and ``iqm_ci_high`` the IQM's.
    """
    rows = []
    for world, agents in pairs.items():
        for agent in ordered(agents):
            metrics = agents[agent].metrics
            scores = np.stack(list(metrics.values()), axis=1)
            mean, iqm = statistics.estimate(scores), statistics.estimate(scores, statistics.iqm)
            for i, metric in enumerate(metrics):
                of = mean.point[i], iqm.point[i], mean.low[i], mean.high[i]
                spread = iqm.low[i], iqm.high[i]
                rows.append((world, agent, metric, *map(float, of), len(scores), *map(float, spread)))
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *IQM_COLUMNS])


def normalised_scores(pairs: Mapping[str, Mapping[str, Pair]], metric: str) -> dict[str, np.ndarray]:
    """Agent id -> scores [S, W] on the scale from random to oracle, of agents that every world has.

    Worlds in which a user model is fitted twice do not count twice. Empty where random or oracle is missing.
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
    """Rows of ``across.csv``: mean and IQM of all runs in all worlds, and probability of improvement."""
    rows = []
    for metric in ("final_return", "auc_return"):
        scores = normalised_scores(pairs, metric)
        for agent, own in scores.items():
            found = [(name, "", statistics.over_worlds(own, name)) for name in ("mean", "iqm")]
            if RIVAL in scores and agent != RIVAL:
                chance = statistics.probability_of_improvement(own, scores[RIVAL])
                found.append(("probability_of_improvement", RIVAL, chance))
            rows += [(agent, metric, name, other, *map(float, of), own.shape[1]) for name, other, of in found]
    return pd.DataFrame(rows, columns=ACROSS_COLUMNS)


def overview_markdown(results: StudyResults, summary: pd.DataFrame) -> str:
    """All worlds in one table: first and last return, the last with its interval; one, where none learns."""
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
            stays = len(agents[agent].env_steps) == 2
            row.append(f"{mean} {interval}" if stays else f"{first['mean']:.1f} → {mean} {interval}")
        lines.append(f"| {style(agent).name} | " + " | ".join(cell.strip() for cell in row) + " |")
    return "\n".join([*lines, ""])


def results_markdown(results: StudyResults, summary: pd.DataFrame, prefix: str = "") -> str:
    """The result tables, one per world, each with its figure; ``prefix`` stands before the figures' names."""
    lines = []
    for world, agents in results.pairs.items():
        rows = summary[summary.world == world]
        steps = max(int(pair.env_steps[-1]) for pair in agents.values())
        headings = [_HEADINGS[metric][0] for metric in _SHOWN]
        lines += [f"**{world}** ({rows.num_seeds.max()} seeds, {steps:,} env steps)", ""]
        lines += ["| agent | " + " | ".join(headings) + " |", "| --- |" + " ---: |" * len(headings)]
        for agent in ordered(agents):
            own = rows[rows.agent == agent].set_index("metric")
            cells = []
            for metric in _SHOWN:
                mean, interval = written(own.loc[metric], _HEADINGS[metric][1])
                cells.append(
                    f"{mean} {interval}".strip() if metric in ("initial_return", "final_return") else mean
                )
            lines.append(f"| {style(agent).name} | " + " | ".join(cells) + " |")
        if untuned := _untuned(results.config["pairs"][world]):
            lines += [
                "",
                f"With default settings, not tuned: {', '.join(style(name).name for name in untuned)}.",
            ]
        if len(sets := _label_sets(results.config["pairs"][world])) > 1:
            told = "; ".join(", ".join(style(name).name for name in names) for names in sets)
            lines += ["", f"From {len(sets)} sets of labels, made on different machines: {told}."]
        lines += ["", f"![Return and length over env steps in {world}]({prefix}{world}.svg)", ""]
    lines += [f"![All worlds together]({prefix}across.svg)", ""] if _across(results.pairs) else []
    return "\n".join(lines)


def _untuned(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return ordered(name for name, record in records.items() if space_of(name) and not record["tuned"])


def _label_sets(records: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The methods that learned from each set of labels; a model trained elsewhere differs in rounding."""
    sets: dict[str, list[str]] = {}
    for name in ordered(name for name, record in records.items() if record.get("labels")):
        sets.setdefault(records[name]["labels"], []).append(name)
    return list(sets.values())


def _across(pairs: Mapping[str, Mapping[str, Pair]]) -> bool:
    return bool(normalised_scores(pairs, "final_return"))


def verdicts_markdown(tested: Mapping[str, list[Claim]]) -> str:
    """The verdicts as one table: a row per claim, a column per world."""
    worlds = list(tested)
    found = {world: {claim.claim: claim for claim in claims} for world, claims in tested.items()}
    ids = sorted({claim: None for claims in found.values() for claim in claims}, key=lambda name: name[0])
    lines = ["| claim | " + " | ".join(["", *worlds]) + " |", "| --- | --- |" + " --- |" * len(worlds)]
    for name in ids:
        own = [found[world].get(name) for world in worlds]
        text = next(claim.text for claim in own if claim)
        lines.append(f"| {name} | {text} | " + " | ".join(_verdict(claim) for claim in own) + " |")
    return "\n".join([*lines, ""])


def _verdict(claim: Claim | None) -> str:
    if claim is None:
        return ""
    point, low, high = map(float, claim.effect)
    interval = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{claim.verdict}: {point:.2f}{interval}"


def between_markers(text: str, name: str, block: str, where: str) -> str:
    """``text`` with ``block`` between ``<!-- study:NAME -->`` and ``<!-- /study:NAME -->``.

    Raises:
      InputError: the markers are not there, once each; ``where`` is named.
    """
    pattern = rf"(<!-- study:{name} -->\r?\n).*?(<!-- /study:{name} -->)"
    replaced, count = re.subn(pattern, lambda found: f"{found[1]}{block}{found[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise InputError(
            f"{where}: needs the lines <!-- study:{name} --> and <!-- /study:{name} -->, once each"
        )
    return replaced


def write_report(folder: Path, readme: Path | None = None) -> str:
    """Writes tables and figures beside the results they are made from.

    ``summary.csv``, ``across.csv``, ``verdicts.csv``, ``<world>.svg``, ``across.svg`` (where there are random
    and oracle to normalise by), ``table.md`` and ``verdicts.md``.

    Args:
      folder: of the results.
      readme: a file whose blocks between the markers ``study:overview``, ``study:table`` and
        ``study:verdicts`` are replaced.

    Returns:
      The tables for the console.

    Raises:
      InputError: there are no results, or a file is broken or has no markers.
    """
    results = read_results(folder)
    summary, across = summary_table(results.pairs), across_table(results.pairs)
    tested = {world: claims(world, agents) for world, agents in results.pairs.items()}
    for name, table in (("summary", summary), ("across", across), ("verdicts", verdicts_table(tested))):
        store.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    for world, agents in results.pairs.items():
        store.write_text(
            folder / f"{world}.svg", study_figures.svg(study_figures.world_figure(world, agents))
        )
    if scores := normalised_scores(results.pairs, "final_return"):
        figure = study_figures.across_figure(across, scores, RIVAL)
        store.write_text(folder / "across.svg", study_figures.svg(figure))
    verdicts = verdicts_markdown(tested)
    store.write_text(folder / "table.md", results_markdown(results, summary))
    store.write_text(folder / "verdicts.md", verdicts)
    if readme is not None:
        named, readme = readme, readme.resolve()  # a link stays a link
        prefix = os.path.relpath(folder.resolve(), readme.parent).replace(os.sep, "/") + "/"
        try:
            text, mode = readme.read_bytes().decode("utf-8"), readme.stat().st_mode
        except OSError as error:
            raise InputError(f"--config.readme={named}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise InputError(f"--config.readme={named}: not UTF-8 text; convert it") from None
        line_end = "\r\n" if "\r\n" in text else "\n"
        blocks = {
            "overview": overview_markdown(results, summary),
            "table": results_markdown(results, summary, prefix),
            "verdicts": verdicts,
        }
        for name, block in blocks.items():
            text = between_markers(text, name, block.replace("\n", line_end), str(named))
        store.write_text(readme, text)
        readme.chmod(mode)
    return f"{console_table(summary)}\n\n{verdicts}"

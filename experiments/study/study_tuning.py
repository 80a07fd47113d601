"""The table of tuned values: what a search chose, and from how many configurations it could choose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.agents import AGENTS, space_of
from experiments.reporting.styles import ordered, style
from experiments.study.study_results import StudyResults
from experiments.study.trial_log import read_given
from experiments.study.variants import tuned_in


def counts_given(results: Path, world: str) -> dict[str, int]:
    """The number of configurations that searches in one world ever gave to each method.

    Args:
      results: folder of the study's results.
      world: id of the world.
    """
    given = read_given(results / "tuning" / f"{world}.csv")
    return {str(method): int(count) for method, count in given.method.value_counts().items()}


def tuned_markdown(results: StudyResults, folder: Path) -> str:
    """The tuned values of each world as a table with a row per method that the search tunes.

    The last two columns show how many tries each method had, because each try is a chance to win by luck.
    They count the configurations that any search gave to the method, and the variants that were tried while
    it was designed (`AgentDisplay.design_trials`).
    """
    lines = []
    for world in results.pairs:
        if tuned_in(world) != world:
            continue
        records, counts = results.config["pairs"][world], counts_given(folder, world)
        names = ordered(name for name in records if space_of(name))
        lines += [f"**{world}**", "", "| agent | tuned values | configurations ever given | design trials |"]
        lines += ["| --- | --- | ---: | --- |"]
        for name in names:
            row = (style(name).name, _values(records[name]["tuned"]), f"{counts.get(name, 0)}")
            lines.append(f"| {' | '.join(row)} | {_design(name, world)} |")
        lines.append("")
    return "\n".join(lines)


def _values(tuned: Mapping[str, Any] | None) -> str:
    if not tuned:
        return "default settings, no search"
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in tuned.items())


def _design(name: str, world: str) -> str:
    trials = AGENTS[name].design_trials
    if not trials:
        return "none on record"
    return f"at least {trials[world]}" if world in trials else "none here"

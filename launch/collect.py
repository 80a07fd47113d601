"""Puts the finished runs of a sweep into one report.

python -m launch.collect FOLDER [--base=RUN]

Writes FOLDER/report/{summary.csv, curves.csv, index.html}: the tables of the runs, one below the other, with
the run and every setting in which the runs differ (config.a.b) as first columns, and a page with a table and
learning curves by setting. Any folder of run folders will do. Where the runs differ in seed, they are
repetitions: each counts once, by its mean over its own seeds.

With --base, the name of one run, the others are held against it: {effects.csv, effects.md, effects.svg} tell
by what each of their settings multiplies the return, and the page shows it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.agents import OTHER
from experiments.flags import fail
from experiments.reporting import page, plots
from experiments.reporting.report import CURVE_COLUMNS, SUMMARY_COLUMNS
from experiments.reporting.styles import Style, ordered, style
from experiments.run import flat
from experiments.study.study_figures import svg
from ialp_jax import console, store
from ialp_jax.claim import REPORT, claim
from ialp_jax.errors import InputError, expanded
from ialp_jax.evaluation import statistics
from launch import effects
from launch.effects import NOT_SETTINGS

LONGEST_LABEL = 30  # characters beside a line
REPETITION = "seed"  # the setting over which runs are pooled
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#1a1a1a", "#3fa9dc", "#882255")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run: its folder's name, its settings by path, and its tables."""

    name: str
    settings: dict[str, Any]
    summary: pd.DataFrame
    curves: pd.DataFrame


def read(folder: Path) -> tuple[list[Finished], list[str]]:
    """The finished runs of a folder, and the names of those that are not.

    Raises:
      InputError: there is none, or a report was altered.
    """
    runs, unfinished = [], []
    for run in sorted(path.parent for path in folder.glob("*/config.json")):
        if store.read_manifest(run / "report") is None:
            unfinished.append(run.name)
            continue
        manifest = store.verify(run / "report")
        try:
            summary = pd.read_csv(run / "report" / "summary.csv")[SUMMARY_COLUMNS]
            curves = pd.read_csv(run / "report" / "curves.csv")[CURVE_COLUMNS]
            runs.append(Finished(run.name, flat(manifest["config"]), summary, curves))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{run / 'report'}: not a report ({error}); run --stage=report again") from None
    if not runs:
        raise InputError(f"{folder}: holds no finished run")
    return runs, unfinished


def swept_paths(runs: Sequence[Finished]) -> list[str]:
    """The settings in which the runs differ, in the order of their paths."""
    paths = sorted({path for run in runs for path in run.settings} - NOT_SETTINGS)
    return [path for path in paths if len({repr(run.settings.get(path)) for run in runs}) > 1]


def merged(runs: Sequence[Finished], paths: Sequence[str], table: str) -> pd.DataFrame:
    """One of the tables of all runs, with columns for the run and its settings before its own."""
    parts = []
    for run in runs:
        part = getattr(run, table).copy()
        for place, path in enumerate(paths):
            part.insert(place, f"config.{path}", run.settings.get(path))  # curves have a seed of their own
        part.insert(0, "run", run.name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def label(run: Finished, paths: Sequence[str]) -> str:
    """A run's setting in few words: the last parts of the paths, as many as tell them apart."""
    words = []
    for path in paths:
        parts = path.split(".")
        count = next(
            (n for n in range(1, len(parts)) if sum(p.split(".")[-n:] == parts[-n:] for p in paths) == 1),
            len(parts),
        )
        words.append(f"{'.'.join(parts[-count:])}={run.settings.get(path)}")
    return ", ".join(words) or "all runs"


def settings_of(runs: Sequence[Finished], paths: Sequence[str]) -> dict[str, list[Finished]]:
    """The runs of each setting by its label; numbered where a figure has no room for the labels."""
    groups: dict[str, list[Finished]] = {}
    by_value = sorted(runs, key=lambda run: [_sortable(run.settings.get(path)) for path in paths])
    for run in by_value:
        groups.setdefault(label(run, [path for path in paths if path != REPETITION]), []).append(run)
    if max(map(len, groups)) <= LONGEST_LABEL:
        return groups
    return {f"{number}: {name}": own for number, (name, own) in enumerate(groups.items(), start=1)}


def _sortable(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, int | float)
    return not number, value if number else str(value)


def metric_rows(runs: Sequence[Finished], agent: str) -> dict[str, dict[str, float]]:
    """Metric -> mean, ci_low and ci_high of an agent in the runs of one setting."""
    own = [run.summary[run.summary.agent == agent].set_index("metric") for run in runs]
    own = [rows for rows in own if len(rows)]
    if len(own) == 1:
        return own[0][["mean", "ci_low", "ci_high"]].to_dict("index")
    found = {}
    for metric in own[0].index if own else ():
        of = statistics.estimate(np.array([rows["mean"][metric] for rows in own]))
        found[metric] = {"mean": float(of.point), "ci_low": float(of.low), "ci_high": float(of.high)}
    return found


def return_curve(runs: Sequence[Finished], agent: str) -> plots.Curve | None:
    """The return of an agent over env steps in the runs of one setting; None where it did not run."""
    rows = pd.concat([run.curves.assign(run=run.name) for run in runs])
    rows = rows[(rows.agent == agent) & (rows.metric == "return")]
    if rows.empty:
        return None
    unit = "seed" if rows.run.nunique() == 1 else "run"
    table = rows.pivot_table(index=unit, columns="env_steps", values="value", aggfunc="mean", dropna=False)
    return plots.Curve(table.columns.to_numpy(np.int64), statistics.estimate(table.to_numpy()))


def table_groups(groups: Mapping[str, list[Finished]], agents: Sequence[str]) -> list[dict[str, Any]]:
    """The page's table: for each agent a row per setting, or one where no setting changes anything."""
    found = []
    for agent in agents:
        numbers = {name: metric_rows(runs, agent) for name, runs in groups.items()}
        numbers = {name: rows for name, rows in numbers.items() if rows}
        if len(numbers) > 1 and len({str(rows) for rows in numbers.values()}) == 1:
            numbers = {"any": next(iter(numbers.values()))}
        rows = []
        for name, of in numbers.items():
            cells = []
            for metric, (_, write, marked) in page.COLUMNS.items():
                mean, interval = page.written(of[metric], write)
                best = np.nanmax([other[metric]["mean"] for other in numbers.values()], initial=-np.inf)
                marked = marked and len(numbers) > 1 and mean == write(best)
                cells.append({"mean": mean, "interval": interval, "best": marked})
            rows.append({"name": name, "colour": style(agent).colour, "cells": cells})
        found.append({"name": style(agent).name, "rows": rows})
    return found


def curve_figures(groups: Mapping[str, list[Finished]], agents: Sequence[str]) -> list[dict[str, str]]:
    """A figure for each agent that learns, a line per setting; of many settings, the best ones'."""
    figures = []
    for agent in agents:
        curves = {name: curve for name, runs in groups.items() if (curve := return_curve(runs, agent))}
        if all(len(curve.env_steps) <= 2 for curve in curves.values()):
            continue

        def final(name: str, curves: Mapping[str, plots.Curve] = curves) -> float:
            return -float(np.nan_to_num(curves[name].estimate.point[-1], nan=-np.inf))

        best = set(sorted(curves, key=final)[: len(COLOURS)])
        shown = {name: curve for name, curve in curves.items() if name in best}
        looks = {
            name: Style(name if len(name) <= LONGEST_LABEL else name.partition(":")[0], OTHER, colour)
            for name, colour in zip(shown, COLOURS, strict=False)
        }
        title = f"{style(agent).name}: return"
        svg = plots.learning_curves(shown, title, "return (likes per session)", look=looks.__getitem__)
        figures.append(page.figure(svg, f"Return of {style(agent).name} over env steps by setting"))
    return figures


def render(
    name: str,
    runs: Sequence[Finished],
    unfinished: Sequence[str],
    paths: Sequence[str],
    compared: str | None = None,
) -> str:
    """The page, whole in itself; ``compared`` is the figure of effects."""
    groups = settings_of(runs, paths)
    agents = ordered({agent for run in runs for agent in run.summary.agent})
    left = f"; not finished: {', '.join(unfinished)}" if unfinished else ""
    pooled = any(len(own) > 1 for own in groups.values())
    over = "runs, each the mean over its own seeds" if pooled else "the seeds of the run"
    return page.template("sweep.html.j2").render(
        name=name,
        headline=f"{_count(runs, 'finished run')} of {_count(groups, 'setting')}{left}.",
        swept=[
            (path, ", ".join(map(str, sorted({run.settings.get(path) for run in runs}, key=_sortable))))
            for path in paths
        ],
        headings=[heading for heading, _, _ in page.COLUMNS.values()],
        groups=table_groups(groups, agents),
        interval=f"Mean over {over}; below it the 95 % interval (percentile bootstrap).",
        effects=page.figure(compared, "What each change multiplies the return by") if compared else None,
        curves=curve_figures(groups, agents),
        cut=len(COLOURS) if len(groups) > len(COLOURS) else 0,
    )


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def collect(folder: Path, base: str = "") -> list[str]:
    """Writes the report of a sweep, with the effects of changes to the run ``base`` where one is named.

    Returns the names of runs that are not finished. Raises InputError.
    """
    runs, unfinished = read(folder)
    paths, report = swept_paths(runs), folder / "report"
    claim(report, REPORT)
    compared = None
    if base:
        rows = effects.effects(
            base, {run.name: run.settings for run in runs}, {run.name: run.curves for run in runs}
        )
        agents = effects.moved(rows)
        store.write_text(report / "effects.csv", rows.to_csv(index=False, float_format="%.6g"))
        store.write_text(report / "effects.md", effects.table(rows, agents))
        if agents:
            compared = svg(effects.figure(rows, agents))
            store.write_text(report / "effects.svg", compared)
    for table in ("summary", "curves"):
        store.write_text(report / f"{table}.csv", merged(runs, paths, table).to_csv(index=False))
    store.write_text(report / "index.html", render(folder.resolve().name, runs, unfinished, paths, compared))
    return unfinished


def main(argv: Sequence[str]) -> None:
    """Collects the folder that is named; a mistake is one line and exit code 2."""
    named = [arg for arg in argv[1:] if not arg.startswith("--base=")]
    if len(named) != 1 or named[0] in ("-h", "--help", "-help"):
        console.show_lines([__doc__])
        raise SystemExit(0 if named in (["-h"], ["--help"], ["-help"]) else 2)
    base = next((arg.removeprefix("--base=") for arg in argv[1:] if arg.startswith("--base=")), "")
    try:
        folder = Path(expanded(named[0], "FOLDER"))
        unfinished = collect(folder, base)
    except InputError as error:
        fail(str(error))
    for name in unfinished:
        print(f"not finished: {name}")
    print(f"report: {folder / 'report' / 'index.html'}")


if __name__ == "__main__":
    with console.command():
        main(sys.argv)

"""The page of a sweep shows a table, and learning curves for each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting import page, plots
from experiments.reporting.styles import OTHER, Style, ordered, style
from ialp_jax.evaluation import statistics
from launch.finished_runs import LONGEST_LABEL, Finished, settings_of, sort_key

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#1a1a1a", "#3fa9dc", "#882255")
EFFECTS_TITLE = "Factor by which each change multiplies the return"


def metric_rows(runs: Sequence[Finished], agent: str) -> dict[str, dict[str, float]]:
    """Maps each metric to mean, ci_low and ci_high of an agent in the runs of one setting."""
    tables = [run.summary[run.summary.agent == agent].set_index("metric") for run in runs]
    tables = [table for table in tables if len(table)]
    if len(tables) == 1:
        return tables[0][["mean", "ci_low", "ci_high"]].to_dict("index")
    rows = {}
    for metric in tables[0].index if tables else ():
        mean = statistics.estimate(np.array([table["mean"][metric] for table in tables]))
        rows[metric] = {"mean": float(mean.point), "ci_low": float(mean.low), "ci_high": float(mean.high)}
    return rows


def return_curve(runs: Sequence[Finished], agent: str) -> plots.Curve | None:
    """The learning curve (return over env steps) of an agent in the runs of one setting, or None."""
    rows = pd.concat([run.curves.assign(run=run.name) for run in runs])
    rows = rows[(rows.agent == agent) & (rows.metric == "return")]
    if rows.empty:
        return None
    unit = "seed" if rows.run.nunique() == 1 else "run"
    table = rows.pivot_table(index=unit, columns="env_steps", values="value", aggfunc="mean", dropna=False)
    return plots.Curve(table.columns.to_numpy(np.int64), statistics.estimate(table.to_numpy()))


def table_groups(groups: Mapping[str, list[Finished]], agents: Sequence[str]) -> list[dict[str, Any]]:
    """The page's table has a row per agent and setting, or one row if no setting changes the agent."""
    table = []
    for agent in agents:
        metrics = {name: metric_rows(runs, agent) for name, runs in groups.items()}
        metrics = {name: rows for name, rows in metrics.items() if rows}
        if len(metrics) > 1 and len({str(rows) for rows in metrics.values()}) == 1:
            metrics = {"any": next(iter(metrics.values()))}
        rows = []
        for name, estimates in metrics.items():
            cells = []
            for metric, (_, write, marked) in page.COLUMNS.items():
                mean, interval = page.written(estimates[metric], write)
                best = np.nanmax([other[metric]["mean"] for other in metrics.values()], initial=-np.inf)
                is_best = marked and len(metrics) > 1 and mean == write(best)
                cells.append({"mean": mean, "interval": interval, "best": is_best})
            rows.append({"name": name, "colour": style(agent).colour, "cells": cells})
        table.append({"name": style(agent).name, "rows": rows})
    return table


def curve_figures(groups: Mapping[str, list[Finished]], agents: Sequence[str]) -> list[dict[str, str]]:
    """Draws a figure per learning agent, with a line per setting. Draws at most the 8 best settings."""
    figures = []
    for agent in agents:
        curves = {name: curve for name, runs in groups.items() if (curve := return_curve(runs, agent))}
        if all(len(curve.env_steps) <= 2 for curve in curves.values()):
            continue

        def negative_final_return(name: str, curves: Mapping[str, plots.Curve] = curves) -> float:
            return -float(np.nan_to_num(curves[name].estimate.point[-1], nan=-np.inf))

        best = set(sorted(curves, key=negative_final_return)[: len(COLOURS)])
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
    effects_svg: str | None = None,
) -> str:
    """The page as one HTML document.

    Args:
      name: name of the sweep.
      runs: the finished runs.
      unfinished: names of the unfinished runs.
      paths: paths of the settings that differ between runs.
      effects_svg: the figure of `launch.effects`; None: no figure.
    """
    groups = settings_of(runs, paths)
    agents = ordered({agent for run in runs for agent in run.summary.agent})
    rest = f"; not finished: {', '.join(unfinished)}" if unfinished else ""
    pooled = any(len(group) > 1 for group in groups.values())
    units = "runs, each the mean over its own seeds" if pooled else "the seeds of the run"
    return page.template("sweep.html.j2").render(
        name=name,
        headline=f"{_count(runs, 'finished run')} of {_count(groups, 'setting')}{rest}.",
        swept=[
            (path, ", ".join(map(str, sorted({run.settings.get(path) for run in runs}, key=sort_key))))
            for path in paths
        ],
        headings=[heading for heading, _, _ in page.COLUMNS.values()],
        groups=table_groups(groups, agents),
        interval=f"Mean over {units}; below it the 95 % interval (percentile bootstrap).",
        effects=page.figure(effects_svg, EFFECTS_TITLE) if effects_svg else None,
        curves=curve_figures(groups, agents),
        cut=len(COLOURS) if len(groups) > len(COLOURS) else 0,
    )


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"

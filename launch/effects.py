"""Effects of changed settings in a sweep: ratios of runs to one base run, as table and figure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.agents import REFERENCE
from experiments.reporting.plots import SETTINGS
from experiments.reporting.styles import ordered, style
from experiments.run import ELSEWHERE
from experiments.study.verdicts import ratio
from ialp_jax.errors import InputError
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.metrics import auc_return

METRICS = {"initial_return": "initial", "auc_return": "area", "final_return": "final"}
COLUMNS = ["run", "change", "agent", "metric", "mean", "base", "ratio", "ci_low", "ci_high", "num_seeds"]
NOT_SETTINGS = {"name", *(f"llm.{name}" for name in ELSEWHERE)}  # these do not change a run's results
SCOPE = NOT_SETTINGS | {"adapt.agents"}


def effects(
    base: str, settings: Mapping[str, Mapping[str, Any]], curves: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """One row per run, agent and metric: means over seeds, and the ratio to the base run.

    Seeds are paired, because seed s of every run has the same users; see `statistics.compared`. An agent of a
    run gets rows only if the base run has the same agent.

    Args:
      base: name of the run with which all other runs are compared.
      settings: run -> settings by path.
      curves: run -> rows of its ``curves.csv``.

    Raises:
      InputError: ``base`` is not among the runs.
    """
    if base not in settings:
        raise InputError(f"--base={base}: no finished run; there are {', '.join(settings)}")
    base_metrics = seeds_metrics(curves[base])
    rows = []
    for run in (base, *(run for run in settings if run != base)):
        changes = change(settings[base], settings[run])
        for agent, metrics in seeds_metrics(curves[run]).items():
            if agent not in base_metrics:
                continue
            of_run, of_base = metrics.align(base_metrics[agent], join="inner")
            for metric in METRICS:
                pair = of_run[metric].to_numpy(), of_base[metric].to_numpy()
                effect = statistics.compared(ratio, *pair)
                means = (float(part.mean()) for part in pair)
                interval = (float(part) for part in effect)
                rows.append((run, changes, agent, metric, *means, *interval, len(of_run)))
    frame = pd.DataFrame(rows, columns=COLUMNS)  # the base is first, so it is kept among duplicates
    return frame.drop_duplicates(["change", "agent", "metric"], ignore_index=True)


def change(base: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """The settings in which a run differs from the base, as ``path=value, ...``; "" if none differs."""
    paths = sorted((base.keys() | run.keys()) - SCOPE)
    return ", ".join(f"{path}={run.get(path)}" for path in paths if run.get(path) != base.get(path))


def seeds_metrics(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns for each agent a table with the columns `METRICS` and a row per seed."""
    metrics = {}
    for agent, rows in curves[curves.metric == "return"].groupby("agent"):
        table = rows.pivot_table(index="seed", columns="env_steps", values="value")
        returns = table.to_numpy()
        area = auc_return(table.columns.to_numpy(np.int64), returns)
        columns = dict(zip(METRICS, (returns[:, 0], area, returns[:, -1]), strict=True))
        metrics[str(agent)] = pd.DataFrame(columns, index=table.index)
    return metrics


def table(rows: pd.DataFrame, agents: Sequence[str]) -> str:
    """Markdown table with a row per change: area, final return and ratio to the base, for each agent.

    An agent that does not learn has only its final return and the ratio of final returns.
    """
    headings, cells = ["change"], {changes: [] for changes in dict.fromkeys(rows.change)}
    for agent in agents:
        of_agent = rows[rows.agent == agent]
        wide = of_agent.pivot(index="change", columns="metric", values="mean")
        metrics = ["auc_return", "final_return"]
        if (wide.initial_return == wide.final_return).all():
            metrics = ["final_return"]
        name = style(agent).name
        headings += [f"{name}, {METRICS[metric]}" for metric in metrics] + [f"{METRICS[metrics[0]]} / base"]
        ratios = of_agent[of_agent.metric == metrics[0]].set_index("change")
        for changes, row in cells.items():
            if changes not in wide.index:
                row += [""] * (len(metrics) + 1)
                continue
            row += [f"{wide[metric][changes]:.2f}" for metric in metrics]
            effect = ratios.loc[changes]
            interval = f" [{effect.ci_low:.2f}, {effect.ci_high:.2f}]" if np.isfinite(effect.ci_low) else ""
            row.append(f"{effect.ratio:.2f}{interval}" if changes else "")
    lines = [headings, ["---"] * len(headings), *([name or "base", *row] for name, row in cells.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figure(rows: pd.DataFrame, agents: Sequence[str]) -> Figure:
    """A figure of the ratios to the base: for each change, the area and final return of every agent."""
    rows = rows[(rows.change != "") & rows.agent.isin(agents)]
    changes = list(dict.fromkeys(rows.change))
    labels = [re.sub(r"[\w.]+\.(?=\w+=)", "", change) for change in changes]  # last part of each path
    width, height = 11.0, 1.1 + 0.3 * len(changes)
    with matplotlib.rc_context(SETTINGS):
        canvas = Figure(figsize=(width, height))
        for column, metric in enumerate(("auc_return", "final_return")):
            box = (0.28 + 0.31 * column, 0.55 / height, 0.29, (height - 1.0) / height)
            axes = canvas.add_axes(box)
            for number, agent in enumerate(agents):
                shown = rows[(rows.agent == agent) & (rows.metric == metric)]
                shift = 0.22 * (number - (len(agents) - 1) / 2)
                heights = np.array([changes.index(name) for name in shown.change]) + shift
                error = np.abs(shown[["ci_low", "ci_high"]].to_numpy().T - shown.ratio.to_numpy())
                look = {"color": style(agent).colour, "label": style(agent).name}
                axes.errorbar(
                    shown.ratio, heights, xerr=np.nan_to_num(error), fmt="o", markersize=3.5, **look
                )
            axes.axvline(1, color="#8a8a8a", linewidth=1)
            axes.set_yticks(range(len(changes)), labels if column == 0 else [])
            axes.set_ylim(len(changes) - 0.5, -0.5)
            axes.set_title(f"{METRICS[metric].capitalize()} return / base", color="#222222")
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return canvas


def moved(rows: pd.DataFrame) -> list[str]:
    """Agents whose return differs from the base in at least one run, in the order of tables.

    Reference agents are left out.
    """
    agents = set(rows.agent[(rows.change != "") & (rows.ratio != 1)])
    return ordered(agent for agent in agents if style(agent).group != REFERENCE)

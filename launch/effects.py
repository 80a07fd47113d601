"""What each change of a sweep does to one of its runs, the base: a table and a figure of ratios."""

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
NOT_SETTINGS = {"name", *(f"llm.{name}" for name in ELSEWHERE)}  # say where a run is
SCOPE = NOT_SETTINGS | {"adapt.agents"}


def effects(
    base: str, settings: Mapping[str, Mapping[str, Any]], curves: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """A row of `COLUMNS` per run, agent and metric: means over seeds, and the ratio to the base's.

    Seeds are paired, for seed s of every run meets the same users; see `statistics.compared`. An agent that a
    run or the base lacks is left out of it.

    Args:
      base: name of the run that the others are held against.
      settings: run -> settings by path.
      curves: run -> rows of its ``curves.csv``.

    Raises:
      InputError: there is no such run.
    """
    if base not in settings:
        raise InputError(f"--base={base}: no finished run; there are {', '.join(settings)}")
    held = seeds_metrics(curves[base])
    rows = []
    for run in (base, *(run for run in settings if run != base)):
        told = change(settings[base], settings[run])
        for agent, own in seeds_metrics(curves[run]).items():
            if agent not in held:
                continue
            ours, theirs = own.align(held[agent], join="inner")
            for metric in METRICS:
                pair = ours[metric].to_numpy(), theirs[metric].to_numpy()
                effect = statistics.compared(ratio, *pair)
                means = (float(part.mean()) for part in pair)
                interval = (float(part) for part in effect)
                rows.append((run, told, agent, metric, *means, *interval, len(ours)))
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.drop_duplicates(["change", "agent", "metric"], ignore_index=True)  # the base comes first


def change(base: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The settings that differ, as ``path=value, ...``; empty where none does."""
    paths = sorted((base.keys() | own.keys()) - SCOPE)
    return ", ".join(f"{path}={own.get(path)}" for path in paths if own.get(path) != base.get(path))


def seeds_metrics(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Agent -> `METRICS` of each seed, by the seed's number."""
    found = {}
    for agent, rows in curves[curves.metric == "return"].groupby("agent"):
        table = rows.pivot_table(index="seed", columns="env_steps", values="value")
        returns = table.to_numpy()
        area = auc_return(table.columns.to_numpy(np.int64), returns)
        columns = dict(zip(METRICS, (returns[:, 0], area, returns[:, -1]), strict=True))
        found[str(agent)] = pd.DataFrame(columns, index=table.index)
    return found


def table(rows: pd.DataFrame, agents: Sequence[str]) -> str:
    """Markdown: a row per change, with area and final return of each agent and the area's ratio to the base.

    An agent that does not learn has one return.
    """
    headings, cells = ["change"], {told: [] for told in dict.fromkeys(rows.change)}
    for agent in agents:
        own = rows[rows.agent == agent]
        wide = own.pivot(index="change", columns="metric", values="mean")
        metrics = ["auc_return", "final_return"]
        if (wide.initial_return == wide.final_return).all():
            metrics = ["final_return"]
        name = style(agent).name
        headings += [f"{name}, {METRICS[metric]}" for metric in metrics] + [f"{METRICS[metrics[0]]} / base"]
        ratios = own[own.metric == metrics[0]].set_index("change")
        for told, row in cells.items():
            if told not in wide.index:
                row += [""] * (len(metrics) + 1)
                continue
            row += [f"{wide[metric][told]:.2f}" for metric in metrics]
            of = ratios.loc[told]
            interval = f" [{of.ci_low:.2f}, {of.ci_high:.2f}]" if np.isfinite(of.ci_low) else ""
            row.append(f"{of.ratio:.2f}{interval}" if told else "")
    lines = [headings, ["---"] * len(headings), *([told or "base", *row] for told, row in cells.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figure(rows: pd.DataFrame, agents: Sequence[str]) -> Figure:
    """For each change the ratio of every agent's area and final return to the base's."""
    rows = rows[(rows.change != "") & rows.agent.isin(agents)]
    changes = list(dict.fromkeys(rows.change))
    told = [re.sub(r"[\w.]+\.(?=\w+=)", "", change) for change in changes]  # the last part of each path
    width, height = 11.0, 1.1 + 0.3 * len(changes)
    with matplotlib.rc_context(SETTINGS):
        canvas = Figure(figsize=(width, height))
        for place, metric in enumerate(("auc_return", "final_return")):
            box = (0.28 + 0.31 * place, 0.55 / height, 0.29, (height - 1.0) / height)
            axes = canvas.add_axes(box)
            for number, agent in enumerate(agents):
                own = rows[(rows.agent == agent) & (rows.metric == metric)]
                shift = 0.22 * (number - (len(agents) - 1) / 2)
                at = np.array([changes.index(told) for told in own.change]) + shift
                reach = np.abs(own[["ci_low", "ci_high"]].to_numpy().T - own.ratio.to_numpy())
                look = {"color": style(agent).colour, "label": style(agent).name}
                axes.errorbar(own.ratio, at, xerr=np.nan_to_num(reach), fmt="o", markersize=3.5, **look)
            axes.axvline(1, color="#8a8a8a", linewidth=1)
            axes.set_yticks(range(len(changes)), told if place == 0 else [])
            axes.set_ylim(len(changes) - 0.5, -0.5)
            axes.set_title(f"{METRICS[metric].capitalize()} return / base", color="#222222")
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return canvas


def moved(rows: pd.DataFrame) -> list[str]:
    """The agents whose returns some change moves, references apart, in the order of the tables."""
    agents = set(rows.agent[(rows.change != "") & (rows.ratio != 1)])
    return ordered(agent for agent in agents if style(agent).group != REFERENCE)

"""The report stage: writes the results of a run as CSV tables and as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.reporting.page import COLUMNS, render, temperature_of, written
from experiments.reporting.run_results import AUDIT_TABLE, OPTIONAL, AgentCurves, Results, read_run
from experiments.reporting.styles import style
from ialp_jax import store
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.metrics import METRICS

SUMMARY_COLUMNS = ["world", "agent", "metric", "mean", "iqm", "ci_low", "ci_high", "num_seeds"]
START_COLUMNS = ["starts_from", "temperature"]  # further columns of ``summary.csv``
CURVE_COLUMNS = ["world", "agent", "seed", "env_steps", "metric", "value"]


def summary_table(results: Results) -> pd.DataFrame:
    """Rows of ``summary.csv``: every metric of every agent over S seeds, with the interval of the mean.

    ``starts_from`` is the pre-training from which the agent starts, and ``temperature`` that of its policy.
    """
    rows = []
    for agent, result in results.agents.items():
        scores = np.stack([result.metrics[metric] for metric in METRICS], axis=1)
        mean, iqm = statistics.estimate(scores), statistics.iqm(scores)
        for i, metric in enumerate(METRICS):
            numbers = mean.point[i], iqm[i], mean.low[i], mean.high[i]
            start = result.start, result.temperature
            rows.append((results.world, agent, metric, *map(float, numbers), result.num_seeds, *start))
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *START_COLUMNS])


def curves_table(world: str, agents: Mapping[str, AgentCurves]) -> pd.DataFrame:
    """Rows of ``curves.csv``: every point of every curve of every seed."""
    parts = []
    for agent, result in agents.items():
        seeds, points = np.indices(result.curves["return"].shape)
        for metric, values in result.curves.items():
            steps = result.env_steps[points].ravel()
            columns = (world, agent, seeds.ravel(), steps, metric, values.ravel())
            parts.append(pd.DataFrame(dict(zip(CURVE_COLUMNS, columns, strict=True))))
    return pd.concat(parts, ignore_index=True)


def console_table(summary: pd.DataFrame) -> str:
    """The summary as text for the console: a block per world and a line per agent."""
    blocks = []
    for world, rows in summary.groupby("world", sort=False):
        lines = [["agent", *(heading for heading, _, _ in COLUMNS.values()), "temperature"]]
        for agent, agent_rows in rows.groupby("agent", sort=False):
            cells = [style(str(agent)).name]
            numbers = agent_rows.set_index("metric")
            for metric, (_, write, _) in COLUMNS.items():
                mean, interval = written(numbers.loc[metric], write)
                suffix = f" {interval}" if interval and metric == "final_return" else ""
                cells.append(mean + suffix)
            temperature = temperature_of(agent_rows)
            lines.append([*cells, f"{temperature:g}" if math.isfinite(temperature) else "-"])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
            for line in lines
        ]
        seeds = " to ".join(str(count) for count in sorted({rows.num_seeds.min(), rows.num_seeds.max()}))
        blocks.append("\n".join([f"{world}: mean over {seeds} seeds [95 % interval]", *text]))
    return "\n\n".join(blocks)


def write_report(
    run: Path, agents: Sequence[str] | None = None, fits: Collection[str] = OPTIONAL
) -> pd.DataFrame:
    """Writes the CSV tables of ``report/`` and then index.html; each file atomically.

    ``labels.csv`` is written only if the run has an audit.

    Args:
      run: a run folder with finished simulate and adapt stages; the parts labels and pretrain may be absent.
      agents: ids of the agents; None for all agents in the folder.
      fits: the parts of `OPTIONAL` that fit the present settings; other parts are ignored.

    Returns:
      The rows of summary.csv.

    Raises:
      InputError: a stage is missing (the message names it), or a file is broken.
    """
    results = read_run(run, agents, fits)
    summary = summary_table(results)
    page = render(results, summary)
    report = run / "report"
    for name, table in (
        ("summary", summary),
        ("curves", curves_table(results.world, results.agents)),
        ("worlds", results.worlds),
    ):
        store.write_text(report / f"{name}.csv", table.to_csv(index=False))
    (report / AUDIT_TABLE).unlink(missing_ok=True)
    if results.audit is not None:
        store.write_text(report / AUDIT_TABLE, (run / "audit" / AUDIT_TABLE).read_text(encoding="utf-8"))
    store.write_text(report / "index.html", page)
    return summary

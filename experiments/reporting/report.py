"""The report stage: a run folder's results as tables (CSV) and as one HTML page with its plots inside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.reporting.page import COLUMNS, render, written
from experiments.reporting.run_results import AUDIT_TABLE, OPTIONAL, AgentCurves, Results, read_run
from experiments.reporting.styles import style
from ialp_jax import store
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.metrics import METRICS

SUMMARY_COLUMNS = ["world", "agent", "metric", "mean", "iqm", "ci_low", "ci_high", "num_seeds"]
CURVE_COLUMNS = ["world", "agent", "seed", "env_steps", "metric", "value"]


def summary_table(results: Results) -> pd.DataFrame:
    """Rows of ``summary.csv``: each metric of each agent, over its S seeds; the interval is the mean's."""
    rows = []
    for agent, result in results.agents.items():
        scores = np.stack([result.metrics[metric] for metric in METRICS], axis=1)
        mean, iqm = statistics.estimate(scores), statistics.iqm(scores)
        for i, metric in enumerate(METRICS):
            numbers = mean.point[i], iqm[i], mean.low[i], mean.high[i]
            rows.append((results.world, agent, metric, *map(float, numbers), result.num_seeds))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def curves_table(world: str, agents: Mapping[str, AgentCurves]) -> pd.DataFrame:
    """Rows of ``curves.csv``: every curve of every seed, point by point."""
    parts = []
    for agent, result in agents.items():
        seeds, points = np.indices(result.curves["return"].shape)
        for metric, values in result.curves.items():
            steps = result.env_steps[points].ravel()
            columns = (world, agent, seeds.ravel(), steps, metric, values.ravel())
            parts.append(pd.DataFrame(dict(zip(CURVE_COLUMNS, columns, strict=True))))
    return pd.concat(parts, ignore_index=True)


def console_table(summary: pd.DataFrame) -> str:
    """Render the summary for the end of the console: one line per agent, a block per world."""
    blocks = []
    for world, rows in summary.groupby("world", sort=False):
        lines = [["agent", *(heading for heading, _, _ in COLUMNS.values())]]
        for agent, own in rows.groupby("agent", sort=False):
            cells = [style(str(agent)).name]
            numbers = own.set_index("metric")
            for metric, (_, write, _) in COLUMNS.items():
                mean, interval = written(numbers.loc[metric], write)
                shown = f" {interval}" if interval and metric == "final_return" else ""
                cells.append(mean + shown)
            lines.append(cells)
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
    """Write ``report/``: CSV tables (labels.csv where audited) and, last, index.html; each atomically.

    Args:
      run: a run folder with finished adapt and simulate stages; labels and pretrain may be absent.
      agents: ids; all that the folder holds, where none are named.
      fits: which of `OPTIONAL` belong to this run if the folder holds them.

    Returns:
      The rows of summary.csv.

    Raises:
      InputError: a stage is missing (it is named), or a file is broken.
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

"""Puts the finished runs of a sweep into one report.

python -m launch.collect FOLDER [--base=RUN]

Writes FOLDER/report/{summary.csv, curves.csv, index.html}. The CSV files hold the tables of all runs; their
first columns are the run and every setting (config.a.b) in which the runs differ. The page shows a table and
learning curves by setting. FOLDER may be any folder that contains run folders. Runs that differ only in seed
are repetitions: each run counts once, with the mean over its own seeds.

--base=RUN compares every run with RUN: {effects.csv, effects.md, effects.svg} and the page show the factor by
which each change of settings multiplies the return.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import fail, help_asked, positional, with_flag_files
from experiments.study.study_figures import svg
from ialp_jax import console, store
from ialp_jax.claim import REPORT, claim
from ialp_jax.errors import InputError, expanded
from launch import effects
from launch.finished_runs import merged, read, swept_paths
from launch.sweep_page import render


def collect(folder: Path, base: str = "") -> list[str]:
    """Writes the report of a sweep.

    Args:
      folder: folder of the sweep.
      base: name of the run with which all other runs are compared; "": no comparison.

    Returns:
      Names of the unfinished runs.

    Raises:
      InputError: no run is finished, ``base`` is unknown, or a report was altered.
    """
    runs, unfinished = read(folder)
    paths, report = swept_paths(runs), folder / "report"
    claim(report, REPORT)
    effects_svg = None
    if base:
        rows = effects.effects(
            base, {run.name: run.settings for run in runs}, {run.name: run.curves for run in runs}
        )
        agents = effects.moved(rows)
        store.write_text(report / "effects.csv", rows.to_csv(index=False, float_format="%.6g"))
        store.write_text(report / "effects.md", effects.table(rows, agents))
        if agents:
            effects_svg = svg(effects.figure(rows, agents))
            store.write_text(report / "effects.svg", effects_svg)
    for table in ("summary", "curves"):
        store.write_text(report / f"{table}.csv", merged(runs, paths, table).to_csv(index=False))
    page = render(folder.resolve().name, runs, unfinished, paths, effects_svg)
    store.write_text(report / "index.html", page)
    return unfinished


def main(argv: Sequence[str]) -> None:
    """Writes the report of the folder in ``argv``. After an error, prints one line and exits with code 2."""
    argv = with_flag_files(argv)
    if help_asked(argv):
        console.show_lines([__doc__])
        raise SystemExit(0)
    given = flags.FlagValues()
    base = flags.DEFINE_string("base", "", "Run with which all others are compared.", flag_values=given)
    folders = positional(given, argv)
    if len(folders) != 1 or not folders[0]:
        fail(f"give one folder, not {len(list(filter(None, folders)))}; see --help")
    try:
        folder = Path(expanded(folders[0], "FOLDER"))
        unfinished = collect(folder, base.value)
    except InputError as error:
        fail(str(error))
    for name in unfinished:
        print(f"not finished: {name}")
    print(f"report: {folder / 'report' / 'index.html'}")


if __name__ == "__main__":
    with console.command():
        main(sys.argv)

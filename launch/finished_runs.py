"""Reads the finished runs of a sweep with their settings and tables, and groups runs by setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.reporting.report import CURVE_COLUMNS, START_COLUMNS, SUMMARY_COLUMNS
from experiments.run import flat
from ialp_jax import store
from ialp_jax.errors import InputError
from launch.effects import NOT_SETTINGS

LONGEST_LABEL = 30  # maximum number of characters of a label beside a curve
REPETITION = "seed"  # runs that differ only in this setting are repetitions


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run: the name of its folder, its settings by path, and its tables."""

    name: str
    settings: dict[str, Any]
    summary: pd.DataFrame
    curves: pd.DataFrame


def read(folder: Path) -> tuple[list[Finished], list[str]]:
    """The finished runs of a folder, and the names of the unfinished ones.

    Raises:
      InputError: no run is finished, or a report was altered.
    """
    runs, unfinished = [], []
    for run in sorted(path.parent for path in folder.glob("*/config.json")):
        if store.read_manifest(run / "report") is None:
            unfinished.append(run.name)
            continue
        manifest = store.verify(run / "report")
        try:
            table = pd.read_csv(run / "report" / "summary.csv")
            starts = [name for name in START_COLUMNS if name in table]  # older reports have none
            summary = table[[*SUMMARY_COLUMNS, *starts]]
            curves = pd.read_csv(run / "report" / "curves.csv")[CURVE_COLUMNS]
            runs.append(Finished(run.name, flat(manifest["config"]), summary, curves))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{run / 'report'}: not a report ({error}); run --stage=report again") from None
    if not runs:
        raise InputError(f"{folder}: holds no finished run")
    return runs, unfinished


def swept_paths(runs: Sequence[Finished]) -> list[str]:
    """The settings in which the runs differ, sorted by path."""
    paths = sorted({path for run in runs for path in run.settings} - NOT_SETTINGS)
    return [path for path in paths if len({repr(run.settings.get(path)) for run in runs}) > 1]


def merged(runs: Sequence[Finished], paths: Sequence[str], table: str) -> pd.DataFrame:
    """Stacks the tables of all runs; the first columns are the name of the run and its settings."""
    parts = []
    for run in runs:
        part = getattr(run, table).copy()
        for position, path in enumerate(paths):
            # With the prefix, a swept seed does not clash with the column ``seed`` of curves.
            part.insert(position, f"config.{path}", run.settings.get(path))
        part.insert(0, "run", run.name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def label(run: Finished, paths: Sequence[str]) -> str:
    """A short label of a run's settings, with each path cut to the fewest last parts that stay unique."""
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
    """The runs of each setting, by label. If a label is too long for figures, all labels get numbers."""
    groups: dict[str, list[Finished]] = {}
    by_value = sorted(runs, key=lambda run: [sort_key(run.settings.get(path)) for path in paths])
    for run in by_value:
        groups.setdefault(label(run, [path for path in paths if path != REPETITION]), []).append(run)
    if max(map(len, groups)) <= LONGEST_LABEL:
        return groups
    return {f"{number}: {name}": group for number, (name, group) in enumerate(groups.items(), start=1)}


def sort_key(value: Any) -> tuple[bool, Any]:
    """Sort key: numbers come first, by value; all other values follow, as text."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else str(value)

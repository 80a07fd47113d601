"""Rows of a benchmark's table, and how a case is measured in a process of its own."""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from experiments.benchmarks.suites import Case

_MARK = "rows: "  # in front of the one line of a child's output that is meant for the parent


class Row(NamedTuple):
    """One number.

    Attributes:
      case: id of the case.
      metric: what was measured.
      value: the number.
      unit: of it.
      baseline: what it is compared with, measured in the same process; empty where nothing is.
      ratio: ``value`` over the baseline's; NaN where there is none.
    """

    case: str
    metric: str
    value: float
    unit: str
    baseline: str = ""
    ratio: float = float("nan")


def peak_memory() -> float:
    """The most memory this process has held so far, MiB (host memory; a GPU's is not in it).

    Linux carries `ru_maxrss` over from the parent that forked, but not the high-water mark in /proc.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, else KiB


def measure(case: Case) -> list[Row]:
    """Measures a case in a fresh process.

    Raises:
      RuntimeError: the process failed; the message is the last line of its standard error.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.rows", case.function, json.dumps(case.settings)]
    done = subprocess.run([*command, case.name], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{case.name}: its process ended with code {done.returncode}: {said[-1]}")
    return [Row(*row) for row in json.loads(lines[-1].removeprefix(_MARK))]


def table(suite: str, rows: Iterable[Row]) -> str:
    """The rows as CSV; six significant digits, an empty ratio where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["suite", *Row._fields])
    for row in rows:
        ratio = "" if row.ratio != row.ratio else f"{row.ratio:.6g}"
        writer.writerow([suite, row.case, row.metric, f"{row.value:.6g}", row.unit, row.baseline, ratio])
    return out.getvalue()


def _child(function: str, settings: str, name: str) -> None:
    """The other end of `measure`."""
    module, _, attribute = function.partition(":")
    rows = getattr(importlib.import_module(module), attribute)(name, **json.loads(settings))
    print(_MARK + json.dumps(rows))


if __name__ == "__main__":
    _child(*sys.argv[1:])

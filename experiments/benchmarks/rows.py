"""Measures each benchmark case in a separate process, and writes the result rows as a table."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from experiments.benchmarks.suites import Case

_MARK = "rows: "  # prefix of the line that the child process prints for its parent


class Row(NamedTuple):
    """One measured number.

    Attributes:
      case: id of the case.
      metric: name of the measured quantity.
      value: the number.
      unit: unit of the number.
      baseline: name of the baseline that the same process measured; empty: no baseline.
      ratio: ``value`` divided by the baseline's value; NaN: no baseline.
    """

    case: str
    metric: str
    value: float
    unit: str
    baseline: str = ""
    ratio: float = float("nan")


def peak_memory() -> float:
    """The peak memory of this process so far, in MiB; host memory only, without GPU memory.

    On Linux, `ru_maxrss` of a child process includes the peak of its parent process. The peak in
    /proc does not.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # macOS counts bytes, others KiB


def measure(case: Case) -> list[Row]:
    """Measures a case in a fresh process.

    Raises:
      RuntimeError: the process failed; the message has the last line of its standard error. Or the case took
        longer than its limit, and its processes were stopped. Or the case was not started, because its limit
        is 0.
    """
    if case.most_seconds is not None and case.most_seconds <= 0:
        raise RuntimeError(f"{case.name}: not measured, because the time of the suite is over")
    command = [sys.executable, "-m", "experiments.benchmarks.rows", case.function, json.dumps(case.settings)]
    # In its own session, so that the processes that a case starts can be stopped together with it.
    with subprocess.Popen(
        [*command, case.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, messages = process.communicate(timeout=case.most_seconds)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{case.name}: stopped after its limit of {case.most_seconds:.3g} s") from None
        finally:
            if process.poll() is None:
                _stop(process)
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if process.returncode or not lines:
        errors = messages.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{case.name}: its process ended with code {process.returncode}: {errors[-1]}")
    return [Row(*row) for row in json.loads(lines[-1].removeprefix(_MARK))]


def _stop(process: subprocess.Popen) -> None:
    """Ends a process and all processes that it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def table(suite: str, rows: Iterable[Row]) -> str:
    """The rows as CSV with six significant digits; a row without a ratio has an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["suite", *Row._fields])
    for row in rows:
        ratio = "" if row.ratio != row.ratio else f"{row.ratio:.6g}"
        writer.writerow([suite, row.case, row.metric, f"{row.value:.6g}", row.unit, row.baseline, ratio])
    return out.getvalue()


def _child(function: str, settings: str, name: str) -> None:
    """Measures a case in the child process and prints its rows for `measure`."""
    module, _, attribute = function.partition(":")
    rows = getattr(importlib.import_module(module), attribute)(name, **json.loads(settings))
    print(_MARK + json.dumps(rows))


if __name__ == "__main__":
    _child(*sys.argv[1:])

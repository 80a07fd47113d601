"""Measures the speed and memory of one suite and writes a table.

python -m experiments.benchmark --suite=simulator --out=FILE.csv [--full] [--cases=ID,ID]
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from absl import flags
from tqdm import tqdm

from experiments.benchmarks.rows import Row, measure, table
from experiments.benchmarks.suites import SUITE_SECONDS, SUITES, Case
from experiments.command_line import (
    WIDTH,
    check_no_argument,
    fail,
    first_sentence,
    flag_lines,
    help_asked,
    positional,
    with_flag_files,
)
from experiments.runtime import cpu
from ialp_jax import console, store
from ialp_jax.claim import check_replaceable
from ialp_jax.errors import InputError, check_local, expanded

FIRST_LINE = table("", [])  # names of the columns
CACHE, CACHED = "JAX_COMPILATION_CACHE_DIR", {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

# A separate set of flags, because the flags of experiments.main do not apply here.
FLAGS = flags.FlagValues()
flags.DEFINE_enum("suite", None, list(SUITES), "Suite to measure.", flag_values=FLAGS)
flags.DEFINE_string("out", None, "CSV file to write.", flag_values=FLAGS)
flags.DEFINE_list(
    "cases", [], "Ids of the cases to measure, separated by commas. Default: all.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "full",
    False,
    "Measure all sizes. Without it, a suite takes at most 6 minutes, gpu at most 9.",
    flag_values=FLAGS,
)


def parse(argv: Sequence[str]) -> None:
    """Reads the flags; after a mistake, prints a one-line message and exits with code 2."""
    argv = with_flag_files(argv)
    if asked := help_asked(argv):
        console.show_lines([help_text(asked == "full")])
        raise SystemExit(0)
    try:
        check_no_argument(positional(FLAGS, argv))
    except InputError as error:
        fail(error)
    for name, example in (("suite", "simulator"), ("out", "benchmark.csv")):
        if not FLAGS[name].value:
            fail(f"--{name} is missing; give, for example, --{name}={example}")
    known = [case.name for case in SUITES[FLAGS["suite"].value](FLAGS["full"].value)]
    if unknown := [name for name in FLAGS["cases"].value if name not in known]:
        fail(f"--cases: {unknown[0]!r} is no case of this suite; cases: {', '.join(known)}")
    try:
        check_local("--out", FLAGS["out"].value)
        FLAGS["out"].value = expanded(FLAGS["out"].value, "--out")
    except InputError as error:
        fail(error)
    out = Path(FLAGS["out"].value)
    try:
        if out.is_dir():
            fail(f"--out={out}: is a folder; name a file in it")
        check_replaceable(out, FIRST_LINE, "--out")
        # Shows that the file can be written; an earlier table stays until the first case is measured.
        store.write_text(out, out.read_text("utf-8") if out.exists() else FIRST_LINE)
    except InputError as error:
        fail(error)
    except OSError as error:
        fail(f"--out={out}: cannot be written ({error.strerror})")


def help_text(full: bool) -> str:
    """The text of ``--help``: flags, suites and cases. ``full`` adds the cases of ``--full``."""
    short = "--helpfull adds the cases of --full, and lists all flags"
    lines = [
        "Measures the speed and memory of one suite and writes a table.",
        "",
        "usage: python -m experiments.benchmark --suite=SUITE --out=FILE.csv [--cases=ID,ID] [--full]",
        "",
        "  --suite=training --out=training.csv                                all cases of a suite",
        "  --suite=labels --out=labels.csv --cases=choice_small,dtypes        2 of its cases",
        "",
        "flags:",
        *flag_lines((FLAGS[name] for name in ("suite", "out", "cases", "full")), full),
        "",
        f"suites and the ids of their cases; {'those in [brackets] need --full' if full else short}:",
    ]
    for suite, cases in SUITES.items():
        usual = [case.name for case in cases(False)]
        ids = [name if name in usual else f"[{name}]" for name in (case.name for case in cases(full))]
        lines += [f"  {suite}: {first_sentence(cases.__doc__ or '')}"]
        lines += textwrap.wrap(", ".join(ids), WIDTH, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Measures every case of the suite; returns 1 if a case failed, else 0."""
    cpu.cores_as_devices()  # the process of each case inherits this setting
    parse(argv)
    suite, out, chosen = FLAGS["suite"].value, Path(FLAGS["out"].value), FLAGS["cases"].value
    cases = [case for case in SUITES[suite](FLAGS["full"].value) if not chosen or case.name in chosen]
    # The cases share small compiled programs. The cache is empty at the start, so compile times are cold.
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, CACHED, **{CACHE: folder}):
        return run(suite, cases, out)


def run(suite: str, cases: Sequence[Case], out: Path) -> int:
    """Measures the cases one after another; see `main`."""
    rows: list[Row] = []
    failed = False
    end = time.monotonic() + SUITE_SECONDS.get(suite, math.inf)
    bar = tqdm(cases, desc=suite, unit="case")
    for case in bar:
        bar.set_postfix_str(case.name)
        left = min(case.most_seconds or math.inf, end - time.monotonic())
        try:
            case_rows = measure(dataclasses.replace(case, most_seconds=left if left < math.inf else None))
        except RuntimeError as error:
            failed = True
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        rows += case_rows
        store.write_text(out, table(suite, rows))  # after each case, so an interrupted run keeps its rows
        tqdm.write("  ".join(_short(row) for row in case_rows))
    print(f"benchmark: {out}")
    return int(failed)


def _short(row: Row) -> str:
    """Formats a row for the console."""
    ratio = "" if row.ratio != row.ratio else f" ({row.ratio:.2f} x {row.baseline})"
    return f"{row.case} {row.metric} {row.value:,.4g} {row.unit}{ratio}"


if __name__ == "__main__":
    with console.command():
        raise SystemExit(main(sys.argv))

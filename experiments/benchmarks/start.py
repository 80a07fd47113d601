"""Measures how long a command takes from its start, with an empty and with a filled compilation cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.benchmarks.rows import Row

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ("--config=experiments/configs/smoke.py",)
# A2C in the world of the quickstart, as its adapt stage trains it.
ADAPT = ("--config=experiments/configs/quickstart.py", "--config.adapt.agents=a2c")


def command(folder: Path, *arguments: str) -> tuple[float, str]:
    """Runs ``experiments.main`` in ``folder`` with its own cache; returns seconds and standard output.

    Raises:
      RuntimeError: the command failed; the message has the last line of its standard error.
    """
    environment = {n: v for n, v in os.environ.items() if not n.startswith("JAX_COMPILATION_CACHE")}
    flags = (f"--workdir={folder / 'run'}", f"--config.compilation_cache={folder / 'cache'}")
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.main", *arguments, *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return seconds, done.stdout


def smoke(case: str, warm: bool, arguments: tuple[str, ...] = SMOKE) -> list[Row]:
    """Measures a whole smoke run; a warm one is compared with the run that filled the cache before."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold, _ = command(folder, *arguments)
        if not warm:
            return [Row(case, "seconds", cold, "s")]
        shutil.rmtree(folder / "run")
        seconds, _ = command(folder, *arguments)
    return [Row(case, "seconds", seconds, "s", "cold", seconds / cold), Row(case, "cold_seconds", cold, "s")]


def adapt_stage(case: str, arguments: tuple[str, ...] = ADAPT) -> list[Row]:
    """Measures the adapt stage of one agent, cold and warm, without and with the start of its process."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stage in ("data", "simulate"):
            command(folder, *arguments, f"--stage={stage}")
        shutil.rmtree(folder / "cache")
        for state in ("cold", "warm"):
            whole, output = command(folder, *arguments, "--stage=adapt")
            own = float(re.findall(r"^adapt: ([\d.]+) s$", output, re.MULTILINE)[-1])
            rows += [Row(case, f"{state}_stage", own, "s"), Row(case, f"{state}_process", whole, "s")]
            shutil.rmtree(folder / "run" / "adapt")
    return rows

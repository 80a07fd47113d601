"""Kills whole runs at random moments. ``python run_lives.py FOLDER`` prints a summary as JSON.

This script forks a process for each run. A process may fork only before JAX computes, so the script imports
packages but computes nothing.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import chex  # noqa: F401 (imports here save time in each run; gymnax is not here, its import computes)
import flax.linen  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import numpy as np
import optax  # noqa: F401
import orbax.checkpoint  # noqa: F401
import pandas  # noqa: F401
import psutil
import scipy.stats  # noqa: F401
from tensorboard.summary.writer import event_file_writer  # noqa: F401

CONFIG = Path(__file__).with_name("lives_config.py")
# (stage of a kill, largest number of new paths in the folder before the kill).
PLAN = [
    *[("data", 3), ("simulate", 6), ("label", 9), ("label", 40), ("audit", 6)],
    *[("pretrain", 15), ("pretrain", 30), ("adapt dqn", 20), ("adapt dqn", 60)],
    *[("adapt a_ialp_ap", 20), ("adapt a_ialp_ap", 60), ("report", 3)],
]


def start(folder: Path, largest: int | None = None) -> int:
    """Starts a process that runs all stages and writes its output to ``<folder>.log``. Returns its id.

    To imitate a full disk, the process cannot write files that are larger than ``largest`` bytes.
    """
    pid = os.fork()
    if pid == 0:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            from experiments import flags, main

            if largest:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            sys.argv = ["main", f"--config={CONFIG}", f"--workdir={folder}"]
            main.main(flags.parse(sys.argv))
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def ended(pid: int) -> int | None:
    """The exit code, or None while the process runs."""
    ended_pid, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended_pid else None


def present(folder: Path) -> set[str]:
    """The paths in a folder."""
    return {os.path.join(at, name) for at, *names in os.walk(folder) for name in names[0] + names[1]}


def until(pid: int, folder: Path, planned: str, changes: int) -> int | None:
    """Waits for a stage and then for new paths. Returns the exit code if the run ends before, else None."""
    code, paths, before = None, set(), 0
    stages = [name for name, _ in PLAN]
    while code is None and (not before or len(paths) - before < changes):
        time.sleep(0.005)
        if stages.index(stage(folder)) >= stages.index(planned):
            paths |= present(folder)
            before = before or len(paths)
        code = ended(pid)
    return code


def stage(folder: Path) -> str:
    """The stage that a run has reached, which is its first stage without a result."""
    parts = {
        "data": "data",
        "simulator": "simulate",
        "labels": "label",
        "audit": "audit",
        "pretrain/ialp": "pretrain",
    }
    parts |= {f"adapt/{agent}": f"adapt {agent}" for agent in ("dqn", "a_ialp_ap")}
    return next((s for part, s in parts.items() if not (folder / part / "manifest.json").exists()), "report")


def kill(folder: Path) -> list[str]:
    """Kills runs as in `PLAN`, and restarts each run until it is done. Returns the stage of each kill."""
    generator, killed, runs = np.random.default_rng(0), [], 0
    while len(killed) < len(PLAN):
        here, code = folder / f"killed{runs}", -signal.SIGKILL
        here.mkdir()
        while code == -signal.SIGKILL:
            pid, code = start(here), None
            if len(killed) < len(PLAN):
                planned, most = PLAN[len(killed)]
                code = until(pid, here, planned, generator.integers(1, most + 1))
            if code is None and len(killed) < len(PLAN):
                time.sleep(generator.uniform(0, 0.05))
                os.kill(pid, signal.SIGKILL)
                killed.append(stage(here))
            if code is None:
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, here.with_suffix(".log").read_text()
        runs += 1
    return killed


def terminate(folder: Path) -> list[int]:
    """Ends a run by SIGTERM in three stages, then by a full disk, then lets it finish: exit codes."""
    codes = []
    for marker in ("labels/worker.log*|labels/model", "checkpoints/pretrain/*/*", "checkpoints/adapt/dqn/*"):
        pid = start(folder)
        while not any(next(folder.glob(m), None) for m in marker.split("|")):
            time.sleep(0.003)
        os.kill(pid, signal.SIGTERM)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for largest in (60_000, None):
        codes.append(os.waitstatus_to_exitcode(os.waitpid(start(folder, largest), 0)[1]))
    return codes


def orphans(folder: Path) -> list[str]:
    """Lists the LLM workers of runs in a folder that are still alive after five seconds."""
    for _ in range(50):
        lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
        left = [line for line in lines if "llm.worker.worker" in line and str(folder) in line]
        if not left:
            return []
        time.sleep(0.1)
    return left


if __name__ == "__main__":
    place = Path(sys.argv[1])
    calm = os.waitstatus_to_exitcode(os.waitpid(start(place / "calm"), 0)[1])
    (place / "asked").mkdir()
    asked, killed = terminate(place / "asked"), kill(place)
    print(json.dumps({"calm": calm, "asked": asked, "killed": killed, "left": orphans(place)}))

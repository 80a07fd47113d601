"""Jobs without JAX: small scripts instead of runs."""

from __future__ import annotations

import os
import time

import psutil

from experiments.config import Config
from launch.jobs import Job


def script(folder, name, code):
    """A job that runs some code in its own folder."""
    job_folder = folder / name
    job_folder.mkdir(parents=True, exist_ok=True)
    return Job({}, Config(), job_folder, ("-c", f"import os; os.chdir({str(job_folder)!r})\n{code}"))


def wait_for(condition, seconds=120):
    """Calls ``condition`` until it returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.05)
    return value


def children(text):
    """Child processes of this process with ``text`` in their command line."""
    processes = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            if text in " ".join(process.cmdline()):
                processes.append(process)
        except psutil.Error:
            continue
    return processes

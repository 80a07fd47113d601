"""Jobs that need no JAX: little scripts in the place of runs."""

from __future__ import annotations

import os
import time

import psutil

from experiments.config import Config
from launch.jobs import Job


def script(folder, name, code):
    """A job that runs some code in its own folder."""
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    return Job({}, Config(), home, ("-c", f"import os; os.chdir({str(home)!r})\n{code}"))


def wait_for(what, seconds=120):
    """What ``what`` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def children(text):
    """Processes of this one with some text in their command line."""
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            if text in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found

"""Runs a command that ends when its parent process ends, even if SIGKILL ends the parent.

    python -m launch.child PARENT CORES COMMAND ...

PARENT is the process id of the parent. CORES are the cores to use, for example 0,1; empty: all.

Only one process at a time may use a run folder. If the child of a killed Ray worker kept running, the retry
of its job could not use the folder and would fail.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # Linux only; on other systems, a child keeps running if its parent is killed


def main(argv: list[str]) -> None:
    """Replaces this process with the command."""
    parent, cores, *command = argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # the parent ended before `prctl` was called
            raise SystemExit(1)
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(",")))
    os.execvp(command[0], command)


def command_of(arguments: tuple[str, ...], cores: tuple[int, ...] = ()) -> list[str]:
    """The command line to run Python with ``arguments`` on ``cores``, as a child of this process."""
    python, core_list = sys.executable, ",".join(map(str, cores))
    return [python, "-m", "launch.child", str(os.getpid()), core_list, python, *arguments]


if __name__ == "__main__":
    main(sys.argv[1:])

"""Runs a command that dies with the process that started it, whatever that died of.

    python -m launch.child PARENT CORES COMMAND ...

PARENT is the process id of the starter, CORES the cores to stay on, as 0,1, or nothing. A run folder belongs
to one process at a time: were the child of a killed Ray worker to live on, its retry could not have it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of Linux; elsewhere a child outlives a starter that is killed


def main(argv: list[str]) -> None:
    """Becomes the command."""
    parent, cores, *command = argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before the line above
            raise SystemExit(1)
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(",")))
    os.execvp(command[0], command)


def command_of(arguments: tuple[str, ...], cores: tuple[int, ...] = ()) -> list[str]:
    """The command line of a child of this process: Python with these arguments, on these cores."""
    python, chosen = sys.executable, ",".join(map(str, cores))
    return [python, "-m", "launch.child", str(os.getpid()), chosen, python, *arguments]


if __name__ == "__main__":
    main(sys.argv[1:])

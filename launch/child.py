"""Runs a command that ends when its parent process ends, even by SIGKILL.

    python -m launch.child PARENT CORES COMMAND ...

PARENT is the process id of the parent. CORES are the cores to use, for example 0,1; empty: all.

Only one process at a time may use a run folder. So if the child of a killed Ray worker continued, the
retry of its job would fail.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # Linux only; on other systems a child outlives a killed parent


def main(argv: list[str]) -> None:
    """Replaces this process with the command."""
    parent, cores, *command = argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # the parent ended before the line above
            raise SystemExit(1)
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(",")))
    os.execvp(command[0], command)


def command_of(arguments: tuple[str, ...], cores: tuple[int, ...] = ()) -> list[str]:
    """The command line of a child of this process: Python with ``arguments``, on ``cores``."""
    python, core_list = sys.executable, ",".join(map(str, cores))
    return [python, "-m", "launch.child", str(os.getpid()), core_list, python, *arguments]


if __name__ == "__main__":
    main(sys.argv[1:])

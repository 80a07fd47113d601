"""Folders that the project writes to are its own, and one process at a time writes into them."""

from __future__ import annotations

import contextlib
import os
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from ialp_jax.claim import RUN, claim
from ialp_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
_held: set[int] = set()  # file descriptors


@contextlib.contextmanager
def locked(folder: Path, kind: str = RUN, flag: str = "--workdir", wait: bool = False) -> Iterator[None]:
    """Claims ``folder``, see `ialp_jax.claim.claim`, and keeps other processes out of it.

    With ``wait`` it is patient while another process has it, else it is refused.

    The operating system holds the lock (``flock`` on ``<folder>/.lock``) and gives it back when this process
    ends, however it ends; the file stays and is no lock by itself. Child processes do not inherit it. Where a
    file system knows no such locks, or the operating system, as Windows, a warning is all there is.

    Raises:
      InputError: another process has it, which is named; or the folder holds what the project did not make;
        or it cannot be written.
    """
    claim(folder, kind, flag)
    try:
        # Not inherited over exec; a link may lead to a file of somebody else.
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    _held.add(file)
    try:
        _take(file, folder, wait)
        yield
    finally:
        if file in _held:  # not in a forked child
            _held.remove(file)
            os.close(file)


def _take(file: int, folder: Path, wait: bool) -> None:
    """Locks an open file and writes into it who has it."""
    try:
        if fcntl is None:
            raise OSError("this operating system has no flock")
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(file, 500, 0).decode("utf-8", "replace") or "another process"
        raise InputError(
            f"{folder} is in use by {owner}; wait until it ends, or give another --workdir"
        ) from None
    except OSError as error:
        warnings.warn(f"{folder}: not locked ({error}); see that no other process uses it", stacklevel=4)
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on host {platform.node()} since {since}".encode(), 0)


def _forget() -> None:
    """In a forked child: lets go of what is its parent's, which keeps it."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

"""Locks a folder so that only one process at a time writes into it."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from ialp_jax.claim import RUN, claim
from ialp_jax.errors import InputError

LOCK = ".lock"
# The operating system reports one of these errors if a file system does not support locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def locked(folder: Path, kind: str = RUN, flag: str = "--workdir", wait: bool = False) -> Iterator[None]:
    """Claims ``folder`` (see `ialp_jax.claim.claim`) and locks it against other processes.

    The lock is on the file ``<folder>/.lock``. The operating system releases the lock when this process ends,
    even after SIGKILL. Then the file still exists, but it is not locked. Child processes do not inherit the
    lock.
    On file systems without locks, the function only warns.

    Args:
      folder: the folder; it is made if it is missing.
      kind: kind of the folder, see `ialp_jax.claim`.
      flag: the flag that names the folder, for error messages.
      wait: whether to wait while another process holds the lock. Otherwise a held lock is an error.

    Raises:
      InputError: another process holds the lock (the message names that process), the folder contains foreign
        files, or the folder cannot be written.
    """
    claim(folder, kind, flag)
    path = folder / LOCK
    lock = filelock.FileLock(path, timeout=-1 if wait else 0, preserve_lock_file=True, on_acquired=_sign)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock)
        except filelock.Timeout:
            raise InputError(
                f"{folder} is in use by {_holder(path)}; wait until it ends, or give another --workdir"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
            warnings.warn(f"{folder}: not locked ({error}); see that no other process uses it", stacklevel=3)
        yield


def _sign(file: int) -> None:
    """Writes the id and host of this process and the time into the open lock file."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on host {platform.node()} since {since}".encode(), 0)


def _holder(path: Path) -> str:
    """Describes the process that holds the lock, with the text that `_sign` wrote."""
    try:
        return path.read_bytes()[:500].decode("utf-8", "replace") or "another process"
    except OSError:
        return "another process"

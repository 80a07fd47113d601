"""One process at a time writes into a folder of the project."""

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
# The operating system reports one of these if a file system has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def locked(folder: Path, kind: str = RUN, flag: str = "--workdir", wait: bool = False) -> Iterator[None]:
    """Claims ``folder``, see `ialp_jax.claim.claim`, and keeps other processes out of it.

    The operating system holds the lock on ``<folder>/.lock`` and frees it when this process ends, even by
    SIGKILL. The file stays, but then locks nothing. Child processes do not inherit the lock.
    On file systems without locks, the function only warns.

    Args:
      folder: made if it is missing.
      kind: of folder, see `ialp_jax.claim`.
      flag: the flag that names the folder, for error messages.
      wait: whether to wait while another process holds the lock. Otherwise that is an error.

    Raises:
      InputError: another process holds the lock (the message names it), the folder holds files of others, or
        it cannot be written.
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
    """Writes the process that holds the lock into the open lock file."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on host {platform.node()} since {since}".encode(), 0)


def _holder(path: Path) -> str:
    """The process that holds the lock, as `_sign` wrote it."""
    try:
        return path.read_bytes()[:500].decode("utf-8", "replace") or "another process"
    except OSError:
        return "another process"

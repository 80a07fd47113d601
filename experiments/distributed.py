"""Several processes, on one host or many, that work on one run together."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator

from experiments import flags
from ialp_jax.errors import InputError

JOIN_SECONDS = 300  # until all processes must have started


def asked() -> bool:
    """Whether the flags ask for several processes."""
    return flags.DISTRIBUTED.value == "auto" or bool(flags.COORDINATOR.value)


def start() -> None:
    """Joins the other processes, where the flags say that there are any; before anything else of JAX.

    Raises:
      InputError: they cannot be reached, or nothing tells of a cluster.
    """
    if not asked():
        return
    import jax

    place = flags.COORDINATOR.value
    if flags.PROCESS_ID.value == 0:
        _check_free(int(place.rpartition(":")[2]))
    where = f"--coordinator={place}" if place else "--distributed=auto"
    with _patience(where):
        try:
            jax.distributed.initialize(
                place or None,
                flags.NUM_PROCESSES.value,
                flags.PROCESS_ID.value,
                initialization_timeout=2 * JOIN_SECONDS,
            )
        except (RuntimeError, ValueError) as error:  # jaxlib's errors are RuntimeErrors
            raise InputError(f"{where}: the processes cannot join ({error})") from None
    if jax.process_index():
        os.environ["TQDM_DISABLE"] = "1"  # the first process speaks


@contextlib.contextmanager
def _patience(where: str) -> Iterator[None]:
    """Ends the process in one line where the others do not come: jaxlib would end it with a stack trace."""

    def give_up() -> None:
        print(
            f"error: {where}: not all processes started within {JOIN_SECONDS} s", file=sys.stderr, flush=True
        )
        os._exit(2)

    timer = threading.Timer(JOIN_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_free(port: int) -> None:
    """Raises InputError where a port is taken: jaxlib would end the process by itself."""
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InputError(f"--coordinator: port {port} cannot be listened on ({error.strerror})") from None


@contextlib.contextmanager
def ended_with_all() -> Iterator[None]:
    """Ends the process at once where one of several failed: at their exit they would wait for each other."""
    try:
        yield
    except BaseException as error:
        if not asked():
            raise
        code = error.code if isinstance(error, SystemExit) else 1
        if not isinstance(error, SystemExit):
            traceback.print_exc()
            print("error: if another process has ended, the same commands go on", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

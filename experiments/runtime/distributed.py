"""Several processes, on one host or many, that work on one run together."""

from __future__ import annotations

import contextlib
import errno
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
    listening = listening_address(place) if flags.PROCESS_ID.value == 0 else None
    where = f"--coordinator={place}" if place else "--distributed=auto"
    with _patience(where):
        try:
            jax.distributed.initialize(
                place or None,
                flags.NUM_PROCESSES.value,
                flags.PROCESS_ID.value,
                initialization_timeout=2 * JOIN_SECONDS,
                coordinator_bind_address=listening,
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


def listening_address(place: str) -> str | None:
    """Where process 0 listens for the others: at the address of --coordinator only.

    By itself, jax listens on all interfaces. Here it does so only if HOST is no address of this machine,
    as behind NAT; one line on stderr says so.

    Args:
      place: HOST:PORT.

    Returns:
      What jax binds to; None: all interfaces.

    Raises:
      InputError: HOST is unknown or the port is taken; jaxlib would end the process by itself.
    """
    host, _, port = place.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(f"--coordinator={place}: no such host ({error.strerror})") from None
    try:
        _bind(found[0], found[4])
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise InputError(f"--coordinator: port {port} cannot be listened on ({error.strerror})") from None
    else:
        name = found[4][0]
        return f"[{name}]:{port}" if found[0] == socket.AF_INET6 else f"{name}:{port}"
    print(
        f"--coordinator={place}: not an address of this machine; listens on all of its interfaces",
        file=sys.stderr,
    )
    try:
        _bind(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET, ("", int(port)))
    except OSError as error:
        raise InputError(f"--coordinator: port {port} cannot be listened on ({error.strerror})") from None
    return None


def _bind(family: int, address: tuple[str | int, ...]) -> None:
    """Tries an address out. Raises OSError where it cannot be listened on."""
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


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

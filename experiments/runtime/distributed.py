"""Several processes, on one host or many, that work together on one run."""

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

JOIN_SECONDS = 300  # all processes must start within this time


def asked() -> bool:
    """Whether the flags ask for several processes."""
    return flags.DISTRIBUTED.value == "auto" or bool(flags.COORDINATOR.value)


def start() -> None:
    """Joins the other processes if the flags ask for several; must run before any other use of JAX.

    Raises:
      InputError: the processes cannot reach each other, or ``--distributed=auto`` finds no cluster.
    """
    if not asked():
        return
    import jax

    coordinator = flags.COORDINATOR.value
    bind_address = listening_address(coordinator) if flags.PROCESS_ID.value == 0 else None
    flag = f"--coordinator={coordinator}" if coordinator else "--distributed=auto"
    with _time_limit(flag):
        try:
            jax.distributed.initialize(
                coordinator or None,
                flags.NUM_PROCESSES.value,
                flags.PROCESS_ID.value,
                initialization_timeout=2 * JOIN_SECONDS,
                coordinator_bind_address=bind_address,
            )
        except (RuntimeError, ValueError) as error:  # jaxlib's errors are RuntimeErrors
            raise InputError(f"{flag}: the processes cannot join ({error})") from None
    if jax.process_index():
        os.environ["TQDM_DISABLE"] = "1"  # only the first process prints


@contextlib.contextmanager
def _time_limit(flag: str) -> Iterator[None]:
    """Ends the process with a one-line message if other processes do not start in time.

    Without this limit, jaxlib would print a stack trace.
    """

    def give_up() -> None:
        print(
            f"error: {flag}: not all processes started within {JOIN_SECONDS} s", file=sys.stderr, flush=True
        )
        os._exit(2)

    timer = threading.Timer(JOIN_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def listening_address(coordinator: str) -> str | None:
    """The address at which process 0 listens for the other processes.

    By default, jax listens on all interfaces. Here process 0 listens only at HOST. If HOST is not an address
    of this machine, for example behind NAT, process 0 listens on all interfaces and prints a line on stderr.

    Args:
      coordinator: HOST:PORT, the value of --coordinator.

    Returns:
      The address that jax binds to; None means all interfaces.

    Raises:
      InputError: HOST is unknown or the port is taken. (jaxlib would end the process.)
    """
    host, _, port = coordinator.rpartition(":")
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(f"--coordinator={coordinator}: no such host ({error.strerror})") from None
    try:
        _bind(family, address)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise InputError(f"--coordinator: cannot listen on port {port} ({error.strerror})") from None
    else:
        return f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}"
    print(
        f"--coordinator={coordinator}: not an address of this machine; listens on all of its interfaces",
        file=sys.stderr,
    )
    try:
        _bind(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET, ("", int(port)))
    except OSError as error:
        raise InputError(f"--coordinator: cannot listen on port {port} ({error.strerror})") from None
    return None


def _bind(family: int, address: tuple[str | int, ...]) -> None:
    """Tries to listen at an address. Raises OSError if the address cannot be used."""
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


@contextlib.contextmanager
def ended_with_all() -> Iterator[None]:
    """Ends a process immediately after an error, because a normal exit would wait for other processes."""
    try:
        yield
    except BaseException as error:
        if not asked():
            raise
        code = error.code if isinstance(error, SystemExit) else 1
        if not isinstance(error, SystemExit):
            traceback.print_exc()
            print(
                "error: if another process has ended, run the same commands again to continue",
                file=sys.stderr,
            )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

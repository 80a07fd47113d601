"""Starts Ray on this machine or joins a Ray cluster, for the label engine and for sweeps.

Anyone who can connect to a port of Ray can run code with the rights of Ray's user. So if this module starts
Ray, Ray listens only on the loopback interface.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

from ialp_jax.errors import InputError, missing_package

# Memory of Ray's object store, if this module starts Ray. A batch needs only a few kilobytes.
OBJECT_STORE_BYTES = 256 * 2**20
# Ray reads this environment variable when it is imported. The value 0 selects the loopback address. This is
# the default on macOS and Windows.
CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_connected = threading.Event()


def connect(address: str, num_cpus: int, flag: str) -> Any:
    """Joins a cluster, or starts Ray on this machine, without dashboard or log output.

    Args:
      address: address of the cluster. If it is empty or ``local``, the function starts Ray on this machine.
      num_cpus: number of CPU cores that Ray may use on this machine.
      flag: name of the flag that sets the address, for error messages.

    Returns:
      The module ``ray``. Call `shut_down` to end the connection.

    Raises:
      InputError: ray is missing, does not start, or would listen on more than the loopback interface.
    """
    address = "" if address == "local" else address
    if not address:
        os.environ[CLUSTER_SWITCH] = "0"
    ray = _import_ray()
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options: dict[str, Any] = {"address": address}
    if not address:
        options = {
            "address": "local",  # otherwise Ray would read RAY_ADDRESS
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "num_cpus": num_cpus,
        }
    try:
        with _silenced_stderr():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, configure_logging=False, **options)
    except Exception as error:  # Ray raises a plain Exception if a node does not start in time
        problem = f"no Ray cluster at {address}" if address else "Ray does not start"
        raise InputError(f"{flag}: {problem} ({last_line(error)})") from None
    _connected.set()
    if not address:
        _require_loopback(ray, flag)
    return ray


def shut_down() -> None:
    """Stops Ray or leaves the cluster, if `connect` started or joined one. Otherwise does nothing."""
    if _connected.is_set():
        import ray

        _connected.clear()
        ray.shutdown()


def last_line(error: Exception) -> str:
    """Returns the last line of a Ray error. Ray writes the problem there, after the traceback."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]


def _import_ray() -> Any:
    try:
        import ray
        import ray.util
    except ImportError as error:
        raise missing_package("--config.llm.engine=ray", error.name or "ray", "ray") from None
    return ray


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Suppresses messages that Ray's C++ libraries write directly to standard error, but no exceptions."""
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as devnull:
            os.dup2(devnull.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _require_loopback(ray: Any, flag: str) -> None:
    """Stops Ray and raises InputError if other machines can connect to Ray.

    This happens if ray was imported before the environment variable was set.
    """
    address = ray.util.get_node_ip_address()
    if not ipaddress.ip_address(address).is_loopback:
        shut_down()
        raise InputError(
            f"{flag}: Ray would listen on {address}, where other machines reach it; "
            f"set the environment variable {CLUSTER_SWITCH}=0 before ray is imported"
        )

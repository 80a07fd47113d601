"""Makes JAX use each CPU core as a device. This module does not import JAX."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

HOST_DEVICES = "--xla_force_host_platform_device_count"


def cores_as_devices(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes JAX use each core of this process as a device; call this function before the import of JAX.

    By default, all cores are one device, and XLA divides each operation among the cores. Most operations of
    these networks are too small to gain from this division. It is faster to give each core its own seeds or
    its own share of a batch. If the user has set the number of devices, this function changes nothing.
    """
    if HOST_DEVICES not in environment.get("XLA_FLAGS", ""):
        environment.setdefault("JAX_NUM_CPU_DEVICES", str(usable_cores()))


def usable_cores() -> int:
    """The number of cores that this process may use, according to its CPU affinity if the system has one."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

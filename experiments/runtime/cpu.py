"""The cores of a CPU as devices of JAX. Nothing here imports it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

HOST_DEVICES = "--xla_force_host_platform_device_count"


def cores_as_devices(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has JAX make a device of each core this process may use; to be called before JAX is imported.

    XLA shares the work of one device among the cores by operation, and most operations of these networks
    are too small for that: seeds, or shares of a batch, on a core each are faster. What the user has set
    about the number of devices stays.
    """
    if HOST_DEVICES not in environment.get("XLA_FLAGS", ""):
        environment.setdefault("JAX_NUM_CPU_DEVICES", str(usable_cores()))


def usable_cores() -> int:
    """How many cores this process may run on, by its affinity where the system knows of one."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

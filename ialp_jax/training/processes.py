"""Several processes that run one program: what each sees alone, and what all must agree on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from ialp_jax.errors import InputError

PATIENCE_SECONDS = 14 * 24 * 3600  # as long as a stage of process 0 may take


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def host(tree: Any) -> Any:
    """The arrays of a tree in this process's memory, whole; all processes must call it."""

    def fetch(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(fetch, tree)


def any_of(flag: bool) -> bool:
    """Whether the flag of any process is set."""
    return flag if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.bool_(flag)).any())


def by_first(function: Callable[[], Any]) -> Any:
    """What a function gives in process 0, where alone it is run, for all; it must be data as JSON knows it.

    Raises:
      InputError: in the other processes, with the message of whatever was raised in process 0.
    """
    if jax.process_count() == 1:
        return function()
    found, failure = None, None
    if is_first():
        try:
            found = function()
        except BaseException as error:  # raised below, once the others know
            failure = error
    # By the coordinator: a collective operation of devices has no patience.
    everybody = set(range(jax.process_count()))
    name = f"by_first_{next(_COUNT)}"
    ocp.multihost.sync_global_processes(name, timeout=PATIENCE_SECONDS, processes=everybody)
    failed = failure and (str(failure) or type(failure).__name__)
    found, failed = _told(json.dumps([found, failed]))
    if failure is not None:
        raise failure
    if failed is not None:
        raise InputError(f"process 0: {failed}")
    return found


_COUNT = itertools.count()  # a barrier has a name of its own


def _told(text: str) -> Any:
    """What process 0 says, decoded."""
    own = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(own.size)))
    room = np.zeros(size, np.uint8)
    room[: min(size, own.size)] = own[:size]
    return json.loads(multihost_utils.broadcast_one_to_all(room).astype(np.uint8).tobytes())

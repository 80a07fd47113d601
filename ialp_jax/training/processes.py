"""Lets several processes that run one program agree on values."""

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

PATIENCE_SECONDS = 14 * 24 * 3600  # how long other processes wait for a stage of process 0


def is_first() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return jax.process_index() == 0


def host(tree: Any) -> Any:
    """Copies the complete arrays of a tree to this process's memory. All processes must call `host`."""

    def fetch(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(fetch, tree)


def any_of(flag: bool) -> bool:
    """Whether ``flag`` is true in any process. All processes must call this function."""
    return flag if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.bool_(flag)).any())


def by_first(function: Callable[[], Any]) -> Any:
    """Runs a function in process 0 and returns its value in all processes. All must call `by_first`.

    Args:
      function: returns a value that JSON can represent.

    Raises:
      InputError: in the other processes, with the message of the exception that process 0 raises.
    """
    if jax.process_count() == 1:
        return function()
    value, failure = None, None
    if is_first():
        try:
            value = function()
        except BaseException as error:  # raised below, after the other processes got its message
            failure = error
    # Waits by means of the coordinator, because a collective operation of devices would time out sooner.
    everybody = set(range(jax.process_count()))
    name = f"by_first_{next(_COUNT)}"
    ocp.multihost.sync_global_processes(name, timeout=PATIENCE_SECONDS, processes=everybody)
    message = failure and (str(failure) or type(failure).__name__)
    value, message = _broadcast(json.dumps([value, message]))
    if failure is not None:
        raise failure
    if message is not None:
        raise InputError(f"process 0: {message}")
    return value


_COUNT = itertools.count()  # every barrier needs a new name


def _broadcast(text: str) -> Any:
    """Sends the JSON text of process 0 to all processes and decodes it."""
    encoded = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(encoded.size)))
    buffer = np.zeros(size, np.uint8)
    buffer[: min(size, encoded.size)] = encoded[:size]
    return json.loads(multihost_utils.broadcast_one_to_all(buffer).astype(np.uint8).tobytes())

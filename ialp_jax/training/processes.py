"""Several processes that run one program: what each sees alone, and what all must agree on."""

from __future__ import annotations

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

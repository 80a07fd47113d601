"""Saves and loads parameters with orbax, and helps other modules to use orbax."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from ialp_jax.agents.base import Params
from ialp_jax.errors import InputError

_FAILURES = (ValueError, KeyError, TypeError, OSError, RuntimeError)  # that orbax and tensorstore raise


def one_process() -> ocp.options.MultiprocessingOptions:
    """Options for orbax that let one process work without waiting for the others."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    process = jax.process_index()
    return ocp.options.MultiprocessingOptions(process, {process}, f"process{process}")


def save_params(folder: Path, params: Params) -> None:
    """Writes a parameter tree to a new folder. Raises InputError if this fails or the folder exists."""
    with (
        explained(folder, "cannot be written"),
        ocp.StandardCheckpointer(multiprocessing_options=one_process()) as checkpointer,
    ):
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_room(folder.parent, params)
        checkpointer.save(folder.resolve(), params)


def load_params(folder: Path, like: Params) -> Params:
    """Reads a parameter tree.

    Args:
      folder: written by `save_params`.
      like: tree with the expected shapes and dtypes.

    Raises:
      InputError: the folder is missing or broken, or its tree has another structure or shape.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such checkpoint; run --stage=pretrain")
    here = SingleDeviceSharding(jax.local_devices()[0])  # the parameters may come from other devices
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), like)
    with (
        explained(folder, "not a checkpoint of this network"),
        ocp.StandardCheckpointer(multiprocessing_options=one_process()) as checkpointer,
    ):
        restored = checkpointer.restore(folder.resolve(), target)
    # orbax commits arrays to a device; a copy through NumPy undoes this. A jitted loop compiles twice if it
    # gets both committed and uncommitted arrays.
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), restored)


@contextlib.contextmanager
def explained(folder: Path, what: str) -> Iterator[None]:
    """Turns an error of orbax into an InputError with a message of one line."""
    try:
        yield
    except _FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: {what} ({reason})") from None


def require_room(folder: Path, tree: Any) -> None:
    """Raises OSError if the disk has no room for a tree; orbax's own error would have a hundred lines."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size, 1))

"""Parameters on disk, by orbax."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ialp_jax.agents.base import Params
from ialp_jax.errors import InputError


def save_params(folder: Path, params: Params) -> None:
    """Replaces ``folder`` by a checkpoint of a parameter tree."""
    if folder.exists():
        shutil.rmtree(folder)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve(), params)


def load_params(folder: Path, like: Params) -> Params:
    """Reads a parameter tree.

    Args:
      folder: written by `save_params`.
      like: arrays or shapes of the tree that is expected.

    Raises:
      InputError: missing, broken, or of another structure or shape.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such checkpoint; run --stage=pretrain")
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(folder.resolve(), target)
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: not a checkpoint of this network ({reason})") from None
    # By way of the host: orbax ties arrays to a device, and a jitted loop fed with both kinds compiles twice.
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), restored)

"""Converts a training to named arrays for `Checkpoints`, and named arrays to a training.

An array of the state is named ``state/<number>``, an array of a table of measurements ``<table>/<metric>``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.training.processes import host

STATE = "state"
Row = dict[str, np.ndarray]
Rows = list[Row]  # the same metrics and shapes in every row


def pack(state: Any, tables: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """Returns the arrays of a state and of tables, by name. All processes must call this function.

    Random keys are stored as their integer data. Empty arrays are left out, because orbax refuses them.
    """
    packed = host(_leaves(state))
    for table, rows in tables.items():
        for metric in rows[0] if rows else ():
            packed[f"{table}/{metric}"] = np.stack([row[metric] for row in rows])
    return packed


def unpack(arrays: Mapping[str, np.ndarray], like: Any, folder: Path) -> tuple[Any, dict[str, Rows]]:
    """Undoes `pack`.

    Args:
      arrays: by name.
      like: tree of the state's shapes, dtypes and devices; NumPy arrays stay NumPy arrays.
      folder: of the checkpoint, for messages.

    Raises:
      InputError: an array of ``like`` is missing in ``arrays``, or differs in shape or dtype.
    """
    for name, leaf in jax.eval_shape(_leaves, like).items():
        if name not in arrays or arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise InputError(f"{folder}: a checkpoint of another version of the code ({name}); remove it")
    tables: dict[str, Rows] = {}
    for name, values in arrays.items():
        table, _, metric = name.partition("/")
        if table != STATE:
            rows = tables.setdefault(table, [{} for _ in values])
            for row, value in zip(rows, values, strict=True):
                row[metric] = value
    return _filled(like, arrays), tables


def sha256(arrays: Mapping[str, np.ndarray], recipe: Mapping[str, Any]) -> str:
    """sha256 of arrays and of JSON-like data."""
    whole = hashlib.sha256(store.fingerprint(recipe).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name} {array.dtype} {array.shape}\n".encode())
        whole.update(array.reshape(-1).view(np.uint8).data)
    return whole.hexdigest()


def is_key(leaf: Any) -> bool:
    """Whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(state: Any) -> dict[str, Any]:
    leaves = enumerate(jax.tree.leaves(state))
    return {f"{STATE}/{n}": jax.random.key_data(x) if is_key(x) else x for n, x in leaves if x.size}


def _filled(like: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Returns a tree with the structure and devices of ``like`` and the arrays of a checkpoint."""
    leaves, structure = jax.tree.flatten(like)
    for n, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray):
            leaves[n] = arrays.get(f"{STATE}/{n}", leaf)  # an empty array was not stored
        elif leaf.size:
            value = jnp.asarray(arrays[f"{STATE}/{n}"])
            if is_key(leaf):
                value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
            leaves[n] = jax.device_put(value, leaf.sharding) if leaf.committed else value
    return jax.tree.unflatten(structure, leaves)

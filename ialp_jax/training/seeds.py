"""Runs a function of one seed for all seeds, in one compiled program, on one device or several."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ialp_jax.mesh import SEED, USER
from ialp_jax.types import Key

WHOLE = PartitionSpec()  # every device stores the whole array


def over_seeds(
    function: Callable[..., Any], how: str = "auto", shared: int = 0, mesh: Mesh | None = None
) -> Callable[..., Any]:
    """Maps ``function`` over the leading axis of its arguments, and compiles the result.

    Args:
      function: function of one seed.
      how: ``vmap`` runs seeds side by side, ``map`` one after the other. ``auto`` is ``map`` on a CPU, where
        the matrix products of one seed already use all cores, and ``vmap`` elsewhere.
      shared: number of leading arguments that are the same for all seeds.
      mesh: mesh of devices, see `mesh.device_mesh`; each row of devices computes its share of the seeds.
    """
    if how == "auto":
        how = "map" if jax.default_backend() == "cpu" else "vmap"

    def mapped(*args: Any) -> Any:
        same, per_seed = args[:shared], args[shared:]
        if how == "vmap":
            return jax.vmap(lambda *one: function(*same, *one))(*per_seed)
        return jax.lax.map(lambda one: function(*same, *one), per_seed)

    if mesh is None:
        return jax.jit(mapped)
    # Each row of devices has its own program, because the compiler treats a program for many devices
    # differently. With one program for all rows, the results of a seed would not have the same bits as on one
    # device.
    rows = [Mesh(row, (USER,)) for row in mesh.devices if any(d in mesh.local_devices for d in row)]
    programs = [jax.jit(mapped, out_shardings=NamedSharding(row, WHOLE)) for row in rows]

    def run(row: Mesh, program: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with jax.set_mesh(row):
            return program(*args)

    def call(*args: Any) -> Any:
        args = (*placed(args[:shared], mesh), *placed(args[shared:], mesh, PartitionSpec(SEED)))
        shares = [jax.tree.map(functools.partial(_of_row, row=row), args) for row in rows]
        with ThreadPoolExecutor(len(rows)) as pool:  # the rows compile in parallel
            parts = list(pool.map(run, rows, programs, shares))
        return jax.tree.map(lambda *leaves: _joined(leaves, mesh), *parts)

    return call


def _of_row(leaf: jax.Array, row: Mesh) -> jax.Array:
    """The part of an array that belongs to a row of devices; each device of the row stores all of it."""
    parts = [shard.data for shard in leaf.addressable_shards if shard.device in row.local_devices]
    sharding = NamedSharding(row, WHOLE)
    return jax.make_array_from_single_device_arrays(parts[0].shape, sharding, parts)


def _joined(rows: tuple[jax.Array, ...], mesh: Mesh) -> jax.Array:
    """Joins the seeds of all rows of devices: from [S / rows, ...] of each row to [S, ...]."""
    seeds, *rest = rows[0].shape
    parts = [shard.data for row in rows for shard in row.addressable_shards]
    sharding = NamedSharding(mesh, PartitionSpec(SEED))
    return jax.make_array_from_single_device_arrays((seeds * mesh.shape[SEED], *rest), sharding, parts)


def placed(tree: Any, mesh: Mesh | None, spec: PartitionSpec = WHOLE) -> Any:
    """Puts the arrays of a tree on the devices of a mesh, by default a full copy on each device."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, spec)

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
            return leaf
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        places = sharding.addressable_devices_indices_map(leaf.shape)
        shards = [jax.device_put(leaf[place], device) for device, place in places.items()]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, shards)

    return jax.tree.map(put, tree)


def seed_keys(key: Key, num_seeds: int) -> Key:
    """One key per seed, [S]; the key of a seed does not depend on S."""
    return jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.arange(num_seeds))

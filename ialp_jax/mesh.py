"""Several devices as a grid: seeds along one axis, users and minibatches along the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ialp_jax.errors import InputError
from ialp_jax.types import Array

SEED, USER = "seed", "user"  # axes


def device_mesh(seeds: int, users: int, num_seeds: int, rows: int) -> Mesh | None:
    """A grid of devices, or None for one device.

    Args:
      seeds: number of equal parts into which the S seeds are split; 0: the largest possible number.
      users: number of equal parts into which each batch is split; 0: the largest number that the remaining
        devices allow.
      num_seeds: S.
      rows: size of a batch: number of users that run in parallel, or size of a minibatch.

    Raises:
      InputError: there are too few devices, the parts are not equal, or several processes run and a device
        has no part.
    """
    count, several = jax.device_count(), jax.process_count() > 1
    seeds = seeds or _largest(num_seeds, count, divides_count=several)
    users = users or _largest(rows, count // seeds, divides_count=several)
    asked = f"--config.devices.seeds={seeds}, --config.devices.users={users}"
    if seeds * users > count:
        raise InputError(f"{asked}: {seeds * users} devices, but jax sees {count}")
    if num_seeds % seeds or rows % users:
        raise InputError(f"{asked}: {num_seeds} seeds and batches of {rows} rows have no such equal shares")
    if several and seeds * users < count:
        raise InputError(
            f"{asked}: of {count} devices in {jax.process_count()} processes {count - seeds * users} have "
            "nothing to do; 0 chooses what fits"
        )
    if seeds * users == 1:
        return None
    return Mesh(np.array(jax.devices()[: seeds * users]).reshape(seeds, users), (SEED, USER))


def _largest(total: int, most: int, divides_count: bool) -> int:
    """The largest number of equal parts of ``total``, at most ``most``."""
    return next(n for n in range(most, 0, -1) if total % n == 0 and (most % n == 0 or not divides_count))


def _shares() -> int:
    """Number of devices that split the users of one seed, within `training.seeds.over_seeds`; elsewhere 1."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if USER in mesh.manual_axes else dict(mesh.shape).get(USER, 1)


def split_users(tree: Any, axis: int = 0) -> Any:
    """Splits ``axis`` of each array among the devices of a seed, if equal parts are possible.

    Arrays are split only within `training.seeds.over_seeds`, in code for one seed. Elsewhere they are
    returned unchanged.
    """
    size = _shares()
    spec = PartitionSpec(*itertools.repeat(None, axis), USER)

    def split(leaf: jax.Array) -> jax.Array:
        fits = leaf.ndim > axis and leaf.shape[axis] % size == 0
        return jax.lax.with_sharding_constraint(leaf, spec) if fits else leaf

    return tree if size == 1 else jax.tree.map(split, tree)


def by_users(function: Callable[..., Any], whole: Any, *split: Any) -> Any:
    """Computes ``function(whole, *split)``; each device of a seed computes it only for its own users.

    Use this for functions with loops over users, because such loops would exchange data between devices.

    Args:
      function: its results and all arguments except the first have users as the leading axis.
      whole: tree of arrays that every device needs completely.
      split: trees of arrays [B, ...].
    """
    size = _shares()
    if size == 1 or any(leaf.shape[0] % size for leaf in jax.tree.leaves(split)):
        return function(whole, *split)
    specs = (PartitionSpec(), *itertools.repeat(PartitionSpec(USER), len(split)))
    return jax.shard_map(function, in_specs=specs, out_specs=PartitionSpec(USER), check_vma=False)(
        whole, *split
    )


def devices_within() -> int:
    """Number of devices that run a function of `by_users`, to be called in this function; elsewhere 1."""
    mesh = jax.sharding.get_abstract_mesh()
    return dict(mesh.shape)[USER] if USER in mesh.manual_axes else 1


def merge_users(x: Array) -> Array:
    """Reshapes [..., users, L] to [any, L], so that no device needs rows of another device.

    If leading axes are merged for a matrix product, only the first of them can stay split among devices. So
    the axis of users is moved to the front. ``x`` is returned unchanged on one device, or if users are the
    only leading axis.
    """
    if _shares() == 1 or x.ndim <= 2:
        return x
    return split_users(jnp.moveaxis(x, -2, 0).reshape(-1, x.shape[-1]))


def part_users(x: Array, leading: tuple[int, ...]) -> Array:
    """Undoes `merge_users`: reshapes [any, ...] to [*leading, ...], if `merge_users` changed the array."""
    if _shares() == 1 or len(leading) <= 1:
        return x
    return jnp.moveaxis(x.reshape(leading[-1], *leading[:-1], *x.shape[1:]), 0, len(leading) - 1)

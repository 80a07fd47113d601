"""Seeds share one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ialp_jax.types import Key


def over_seeds(function: Callable[..., Any], how: str = "auto", shared: int = 0) -> Callable[..., Any]:
    """Maps ``function`` over the leading axis of its arguments, and jits the whole.

    Args:
      function: of one seed.
      how: ``vmap`` runs seeds side by side, ``map`` one after the other; ``auto`` takes ``map`` on a CPU,
        where one seed's matrix products already fill the cores, and ``vmap`` elsewhere.
      shared: so many first arguments are the same for all seeds.
    """
    if how == "auto":
        how = "map" if jax.default_backend() == "cpu" else "vmap"

    def mapped(*args: Any) -> Any:
        same, per_seed = args[:shared], args[shared:]
        if how == "vmap":
            return jax.vmap(lambda *one: function(*same, *one))(*per_seed)
        return jax.lax.map(lambda one: function(*same, *one), per_seed)

    return jax.jit(mapped)


def seed_keys(key: Key, num_seeds: int) -> Key:
    """One key per seed, [S]; a seed has the same key however many others there are."""
    return jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.arange(num_seeds))

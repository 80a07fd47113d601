"""Makes a random stream for each purpose. A key is consumed once; two purposes never share a stream."""

from __future__ import annotations

import zlib

import numpy as np

from ialp_jax.types import Array, Key


def _tag(purpose: str) -> int:
    """Returns a fixed 31-bit number for a purpose. Python's ``hash`` would give a new number in each run."""
    return zlib.crc32(purpose.encode()) & 0x7FFFFFFF


def stream(key: Key, purpose: str, index: int | Array = 0) -> Key:
    """Returns the key of the ``index``-th draw for ``purpose`` (init, act, user, learn, evaluate, ...)."""
    import jax  # only here, because the LLM worker uses this module without JAX

    return jax.random.fold_in(jax.random.fold_in(key, _tag(purpose)), index)


def words(key: Key, purpose: str) -> tuple[Array, Array]:
    """Returns two independent words of 32 random bits, uint32 [] each, for the price of one hash.

    Each draw of `jax.random` costs at least one hash. Use no `stream` with the same purpose and key, because
    its first hash gives the same bits.
    """
    import jax

    block = jax.random.key_data(jax.random.fold_in(key, _tag(purpose)))
    return block[..., 0], block[..., 1]


def unit(word: Array) -> Array:
    """Turns words of 32 random bits into numbers in [0, 1) with 24 bits, float32."""
    import jax.numpy as jnp

    return (word >> 8).astype(jnp.int32).astype(jnp.float32) * jnp.float32(2.0**-24)


def generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Returns a NumPy generator that is independent for each (seed, purpose, index)."""
    return np.random.default_rng([seed, _tag(purpose), index])

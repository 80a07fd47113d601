"""Makes a random stream for each purpose. A key is consumed once; two purposes never share a stream."""

from __future__ import annotations

import zlib

import numpy as np

from ialp_jax.types import Key


def _tag(purpose: str) -> int:
    """Returns a fixed 31-bit number for a purpose. Python's ``hash`` would give a new number in each run."""
    return zlib.crc32(purpose.encode()) & 0x7FFFFFFF


def stream(key: Key, purpose: str, index: int = 0) -> Key:
    """Returns the key of the ``index``-th draw for ``purpose`` (init, act, user, learn, evaluate, ...)."""
    import jax  # only here, because the LLM worker uses this module without JAX

    return jax.random.fold_in(jax.random.fold_in(key, _tag(purpose)), index)


def generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Returns a NumPy generator that is independent for each (seed, purpose, index)."""
    return np.random.default_rng([seed, _tag(purpose), index])

"""Random streams by purpose. A key is consumed once; a purpose never shares its stream with another."""

from __future__ import annotations

import zlib

import numpy as np

from ialp_jax.types import Key


def _tag(purpose: str) -> int:
    """A stable 31-bit number for a purpose (Python's ``hash`` changes from run to run)."""
    return zlib.crc32(purpose.encode()) & 0x7FFFFFFF


def stream(key: Key, purpose: str, index: int = 0) -> Key:
    """The key of ``purpose`` (init, act, user, learn, evaluate, ...) and its ``index``-th draw."""
    import jax  # late: the LLM worker uses this module without JAX

    return jax.random.fold_in(jax.random.fold_in(key, _tag(purpose)), index)


def generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """The same idea for numpy: an independent generator per (seed, purpose, index)."""
    return np.random.default_rng([seed, _tag(purpose), index])

"""Draws from policies over thousands of items."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.types import Array, Key


def sample(key: Key, logits: Array) -> Array:
    """Draws one action per row by inverting the cumulative distribution in two levels.

    First a block of about sqrt(N) items by its total probability, then an item within it: one uniform
    number per row, where the Gumbel trick of `jax.random.categorical` needs one per item.

    Args:
      key: consumed.
      logits: float32 [..., N], unnormalised.

    Returns:
      int32 [...], 0..N-1; never an item of probability 0.
    """
    num_items = logits.shape[-1]
    size = max(1, round(num_items**0.5))
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    padding = [(0, 0)] * (logits.ndim - 1) + [(0, -num_items % size)]
    blocks = jnp.pad(weights, padding).reshape(*logits.shape[:-1], -1, size)
    uniform = jax.random.uniform(key, logits.shape[:-1])
    block, rest = _invert(blocks.sum(-1), uniform)
    inside = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    place, _ = _invert(inside, rest)
    return (block * size + place).astype(jnp.int32)


def _invert(weights: Array, uniform: Array) -> tuple[Array, Array]:
    """The index at which the cumulative weight passes ``uniform``, and the uniform left inside it."""
    total = jnp.cumsum(weights, -1)
    target = uniform * total[..., -1]
    # A sum in float32 need not grow where the weight is 0, nor reach the target at the end: only indices of
    # positive weight may be chosen, and the last of them is the bound.
    positive = weights > 0
    last = weights.shape[-1] - 1 - jnp.argmax(positive[..., ::-1], -1)
    passed = positive & (total > target[..., None])
    index = jnp.where(passed.any(-1), jnp.argmax(passed, -1), last)
    chosen = jnp.take_along_axis(weights, index[..., None], -1)[..., 0]
    before = jnp.take_along_axis(total, index[..., None], -1)[..., 0] - chosen
    return index, jnp.clip((target - before) / chosen, 0.0, 1.0)


def candidates(key: Key, logits: Array, count: int) -> Array:
    """Draws ``count`` different actions per row, one after the other without replacement.

    Gumbel top-k (Kool et al., ICML 2019): the order is the order of the draws.

    Args:
      key: consumed.
      logits: float32 [..., N].
      count: K.

    Returns:
      int32 [..., K], 0..N-1.
    """
    noisy = logits + jax.random.gumbel(key, logits.shape)
    return jax.lax.top_k(noisy, count)[1].astype(jnp.int32)

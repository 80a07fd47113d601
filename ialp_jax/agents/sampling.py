"""Draws from policies over thousands of items."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ialp_jax.networks.heads import mask_shown
from ialp_jax.types import Array, Key


def sample(key: Key, logits: Array) -> Array:
    """Draws one action per row by inverting the cumulative distribution in two levels.

    It first draws a block of about sqrt(N) items by its total probability, then an item within the block.
    This needs one uniform number per row. The Gumbel trick of `jax.random.categorical` needs one per item.

    Args:
      key: consumed.
      logits: float32 [..., N], unnormalised.

    Returns:
      int32 [...], 0..N-1; never an item of probability 0.
    """
    return _draw(jax.random.uniform(key, logits.shape[:-1]), logits)[0]


def sample_mixture(key: Key, first: Array, second: Array, share: Array) -> Array:
    """Draws one action per row from (1 - share) softmax(first) + share softmax(second).

    To draw from a mixture, it first draws a part by its share, and then an action from this part. One random
    number serves both draws, because it is uniform again if the part is given. So at share 0, the action
    equals that of `sample` with ``first`` and the same key. At share 1, it equals that of `sample` with
    ``second``.

    Args:
      key: consumed.
      first, second: float32 [..., N], unnormalised.
      share: float32 [], 0..1, of ``second``.

    Returns:
      int32 [...], 0..N-1; never an item of probability 0.
    """
    uniform = jax.random.uniform(key, first.shape[:-1])
    chosen = uniform < share
    within = jnp.where(chosen, uniform / share, (uniform - share) / (1.0 - share))
    return _draw(within, jnp.where(chosen[..., None], second, first))[0]


def _draw(uniform: Array, logits: Array) -> tuple[Array, Array]:
    """Items at ``uniform`` [...] of the distributions [..., N], and the log of each row's total weight."""
    size = _block_size(logits.shape[-1])
    top = logits.max(-1, keepdims=True)
    weights = jnp.exp(logits - top)
    if rest := -logits.shape[-1] % size:
        weights = jnp.pad(weights, [(0, 0)] * (logits.ndim - 1) + [(0, rest)])
    blocks = weights.reshape(*logits.shape[:-1], -1, size)
    totals = blocks.sum(-1)
    block, left = _invert(totals, uniform)
    inside = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    place, _ = _invert(inside, left)
    return (block * size + place).astype(jnp.int32), jnp.log(totals.sum(-1)) + top[..., 0]


def _block_size(num_items: int) -> int:
    """About sqrt(N): the divisor of N nearest to it within a factor of 2. Padding would copy all weights."""
    root = num_items**0.5
    divisors = [size for size in range(math.ceil(root / 2), int(2 * root) + 1) if num_items % size == 0]
    return min(divisors, key=lambda size: max(size / root, root / size), default=round(root))


def sample_streamed(key: Key, query: Array, table: Array, bias: Array, shown: Array, chunk: int) -> Array:
    """Draws like `sample` from ``query @ table.T + bias``, chunk by chunk, except items in ``shown``.

    It never makes an array of B times N numbers. It draws one item from each chunk. The new item replaces the
    earlier one with a probability: the chunk's share of the total weight so far (reservoir sampling; M. T.
    Chao, Biometrika 1982).

    Args:
      key: consumed.
      query: float32 [B, D].
      table: float32 [N, D].
      bias: float32 [N].
      shown: int32 [B, any], item ids that are not drawn; 0 is ignored.
      chunk: number of items per chunk, at most N.

    Returns:
      int32 [B], 0..N-1; an item of ``shown`` only if it holds all items.
    """
    num_items, users = table.shape[0], query.shape[0]
    chunk = min(chunk, num_items)

    def step(carry: tuple[jax.Array, jax.Array], number: Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        drawn, total = carry
        first = number * chunk
        start = jnp.minimum(first, num_items - chunk)  # the last chunk reaches back over the one before
        rows = jax.lax.dynamic_slice_in_dim(table, start, chunk)
        logits = query @ rows.T + jax.lax.dynamic_slice_in_dim(bias, start, chunk)
        here = (shown > start) & (shown <= start + chunk)
        logits = mask_shown(logits, jnp.where(here, shown - start, 0))
        logits = jnp.where(start + jnp.arange(chunk) >= first, logits, -jnp.inf)
        uniform, replace = jax.random.uniform(jax.random.fold_in(key, number), (2, users))
        item, weight = _draw(uniform, logits)
        total = jnp.logaddexp(total, weight)
        return (jnp.where(jnp.log(replace) < weight - total, start + item, drawn), total), None

    begin = (jnp.zeros(users, jnp.int32), jnp.full(users, -jnp.inf))
    return jax.lax.scan(step, begin, jnp.arange(-(-num_items // chunk)))[0][0]


def uniform_unseen(key: Key, shown: Array, num_items: int) -> Array:
    """Draws evenly from the items that were not shown, without an array of N numbers per row.

    The r-th item not shown is r plus the number of shown items before it. The i-th shown item s_i in
    ascending order is before it if s_i - i is at most r.

    Args:
      key: consumed.
      shown: int32 [..., any], item ids, in any order, also more than once; 0 is ignored.
      num_items: N.

    Returns:
      int32 [...], 0..N-1; any item if all were shown.
    """
    ordered = jnp.sort(jnp.where(shown > 0, shown, num_items + 1), -1)
    again = jnp.pad(ordered[..., 1:] == ordered[..., :-1], [(0, 0)] * (shown.ndim - 1) + [(1, 0)])
    distinct = jnp.sort(jnp.where(again, num_items + 1, ordered), -1) - 1
    seen = distinct < num_items
    left = num_items - seen.sum(-1)
    bits = jax.random.bits(key, shown.shape[:-1])  # modulo N favours no item by more than N / 2^32
    rank = (bits % jnp.where(left > 0, left, num_items).astype(jnp.uint32)).astype(jnp.int32)
    before = seen & (distinct - jnp.arange(shown.shape[-1]) <= rank[..., None])
    return jnp.where(left > 0, rank + before.sum(-1), rank).astype(jnp.int32)


def _invert(weights: Array, uniform: Array) -> tuple[Array, Array]:
    """The index at which the cumulative weight passes ``uniform``, and the rest of ``uniform`` there."""
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

"""SASRec: self-attention over the items a user liked (Kang and McAuley, ICDM 2018).

We use the pre-norm form, which is usual today: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``. The
authors' code normalises only the queries of the attention. Input and output (the heads) share one item table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ialp_jax.mesh import merge_users, part_users
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.dropout import Dropout
from ialp_jax.types import Array

PIECE = 50  # positions; longer histories are processed in pieces of at least this length


class Attention(nn.Module):
    """Causal multi-head attention (Vaswani et al., NeurIPS 2017) of all positions or only of the last one.

    If only the last position is needed, the keys and values of the L positions are never computed. Because
    ``q . (W x_l) = (W' q) . x_l`` and ``sum_l w_l (V x_l) = V sum_l w_l x_l``, both projections act on one
    vector per head instead of L. The keys' bias adds the same number to all scores of a query, so it cancels
    in the softmax.
    """

    heads: int

    @nn.compact
    def __call__(self, x: Array, mask: Array, last_only: bool) -> Array:
        """Maps [..., L, D] and bool [..., 1, L, L] to [..., L, D], or [..., 1, D] with ``last_only``."""
        width = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(batch_axis=0), (3, width, width))
        bias = self.param("bias", nn.initializers.zeros_init(), (3, width))
        mixed = (self._last if last_only else self._all)(x, mask, kernel, bias)
        return nn.Dense(width)(mixed)

    def _all(self, x: Array, mask: Array, kernel: Array, bias: Array) -> Array:
        """Maps [..., L, D], bool [..., 1, L, L], [3, D, D] and [3, D] to [..., L, D]."""
        rows, shape = as_rows(x), (-1, x.shape[-2], self.heads, x.shape[-1] // self.heads)
        query, key, value = ((rows @ kernel[part] + bias[part]).reshape(shape) for part in range(3))
        mask = mask.reshape(-1, *mask.shape[-3:])
        # No position attends to a later one. Because queries are processed in pieces, most masked scores are
        # never computed.
        count = max(1, x.shape[-2] // PIECE)
        ends = [x.shape[-2] * (piece + 1) // count for piece in range(count)]
        attended = [
            jax.nn.dot_product_attention(
                query[:, start:end], key[:, :end], value[:, :end], mask=mask[..., start:end, :end]
            )
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        return jnp.concatenate(attended, 1).reshape(x.shape)

    def _last(self, x: Array, mask: Array, kernel: Array, bias: Array) -> Array:
        """Like `_all`, but computes only the last position, [..., 1, D]."""
        width = x.shape[-1]
        size = width // self.heads
        kernel, bias = (part.reshape(*part.shape[:-1], self.heads, size) for part in (kernel, bias))
        query = jnp.einsum("...d,dhe->...he", x[..., -1, :], kernel[0]) + bias[0]
        query = jnp.einsum("...he,dhe->...hd", query, kernel[1]) / jnp.sqrt(float(size))
        scores = jnp.einsum("...hd,...ld->...hl", query, x)
        weights = jax.nn.softmax(jnp.where(mask[..., -1, :], scores, -jnp.inf))
        mixed = jnp.einsum("...hl,...ld->...hd", weights, x)
        values = jnp.einsum("...hd,dhe->...he", mixed, kernel[2]) + bias[2]
        return values.reshape(*x.shape[:-2], 1, width)


def as_rows(x: Array) -> Array:
    """Reshapes [..., D] to [any, D], because a CPU multiplies matrices faster than arrays with more axes."""
    return x.reshape(-1, x.shape[-1])


class Block(nn.Module):
    """One pre-norm Transformer block."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array, last_only: bool, deterministic: bool) -> Array:
        """Maps [..., L, D] to [..., L, D], or to its last position [..., 1, D] with ``last_only``."""
        dropout: Callable[..., Array] = Dropout(self.config.dropout)
        drop = functools.partial(dropout, deterministic=deterministic)
        attended = Attention(self.config.heads)(nn.LayerNorm()(x), mask, last_only)
        x = (x[..., -1:, :] if last_only else x) + drop(attended)
        hidden = nn.relu(nn.Dense(self.config.width)(as_rows(nn.LayerNorm()(x))))
        return x + drop(nn.Dense(self.config.width)(drop(hidden)).reshape(x.shape))


class SASRec(nn.Module):
    """State encoder.

    Attributes:
      num_items: N.
      length: L, the longest history.
      config: width D, blocks, heads, dropout.
    """

    num_items: int
    length: int
    config: NetworkConfig

    def setup(self) -> None:
        init = nn.initializers.normal(0.02)
        self.items = nn.Embed(self.num_items + 1, self.config.width, embedding_init=init)
        self.positions = self.param("positions", init, (self.length, self.config.width))
        self.blocks = [Block(self.config) for _ in range(self.config.blocks)]
        self.norm = nn.LayerNorm()
        self.drop = Dropout(self.config.dropout)

    def __call__(self, history: Array, last_only: bool = True, deterministic: bool = True) -> Array:
        """Encodes histories.

        Args:
          history: int32 [..., L], left-padded with 0.
          last_only: the last block computes only the last position, the state; agents need no more.
          deterministic: no dropout.

        Returns:
          float32 [..., D], or [..., L, D] without ``last_only``: position t sees items up to t only.
        """
        leading = history.shape[:-1]
        history = merge_users(history)
        x = self.encode_embedded(self.items(history), history > 0, last_only, deterministic)
        return part_users(x, leading)

    def encode_embedded(
        self, items: Array, real: Array, last_only: bool = True, deterministic: bool = True
    ) -> Array:
        """Encodes histories whose items are already embedded.

        Args:
          items: float32 [..., L, D], rows of the item table.
          real: bool [..., L], whether a position is an item, not padding.
          last_only, deterministic: as for `__call__`.
        """
        length = real.shape[-1]
        x = items * jnp.sqrt(float(self.config.width)) + self.positions[-length:]
        x = self.drop(x, deterministic)
        # A padded position attends to itself, so that its softmax has at least one entry.
        visible = nn.make_causal_mask(real, dtype=bool)[..., 0, :, :] & real[..., None, :]
        mask = (visible | jnp.eye(length, dtype=bool))[..., None, :, :]
        for number, block in enumerate(self.blocks):
            final = last_only and number == len(self.blocks) - 1
            x = block(x, mask, final, deterministic)
        x = self.norm(x)
        return x[..., -1, :] if last_only else x

    def table(self) -> Array:
        """The item embeddings without padding, float32 [N, D]."""
        return self.items.embedding[1:]

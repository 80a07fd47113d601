"""SASRec: self-attention over the items a user liked (Kang and McAuley, ICDM 2018).

The pre-norm form: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``, as is usual today; the
paper normalises the queries alone. Items share one table on the way in and, through the heads, out.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from ialp_jax.networks.config import NetworkConfig
from ialp_jax.types import Array


class Block(nn.Module):
    """One pre-norm Transformer block whose queries may be fewer than its keys."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array, queries: int, deterministic: bool) -> Array:
        """Maps [..., L, D] to the last ``queries`` positions, [..., queries, D]."""
        drop = nn.Dropout(self.config.dropout, deterministic=deterministic)
        normed = nn.LayerNorm()(x)
        attended = nn.MultiHeadDotProductAttention(num_heads=self.config.heads)(
            normed[..., -queries:, :], normed, mask=mask[..., -queries:, :]
        )
        x = x[..., -queries:, :] + drop(attended)
        hidden = nn.relu(nn.Dense(self.config.width)(nn.LayerNorm()(x)))
        return x + drop(nn.Dense(self.config.width)(drop(hidden)))


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
        self.drop = nn.Dropout(self.config.dropout)

    def __call__(self, history: Array, last_only: bool = True, deterministic: bool = True) -> Array:
        """Encodes histories.

        Args:
          history: int32 [..., L], left-padded with 0.
          last_only: compute the last position alone in the last block; the state is all an agent needs.
          deterministic: no dropout.

        Returns:
          float32 [..., D], or [..., L, D] without ``last_only``: position t sees items up to t only.
        """
        length = history.shape[-1]
        x = self.items(history) * jnp.sqrt(float(self.config.width)) + self.positions[-length:]
        x = self.drop(x, deterministic=deterministic)
        real = history > 0
        # A padded position may look at itself, so that no softmax is over nothing.
        visible = nn.make_causal_mask(history, dtype=bool)[..., 0, :, :] & real[..., None, :]
        mask = (visible | jnp.eye(length, dtype=bool))[..., None, :, :]
        for number, block in enumerate(self.blocks):
            final = last_only and number == len(self.blocks) - 1
            x = block(x, mask, 1 if final else length, deterministic)
        x = self.norm(x)
        return x[..., -1, :] if last_only else x

    def table(self) -> Array:
        """The item embeddings without padding, float32 [N, D]."""
        return self.items.embedding[1:]

"""Actor, critic and Q heads on top of the state encoder, and the networks built from them."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.sasrec import SASRec
from ialp_jax.types import Array

MASKED = -1e9  # finite, so that a masked logit times a zero probability stays zero


def mask_shown(values: Array, shown: Array) -> Array:
    """Masks items that must not be shown again: their logits or Q values become ``MASKED``.

    Args:
      values: float32 [..., N].
      shown: int32 [..., any], item ids with the same leading axes; 0 is ignored.

    Returns:
      float32 [..., N].
    """

    def one(row: Array, ids: Array) -> Array:
        places = jnp.where(ids > 0, ids - 1, row.shape[0])
        return row.at[places].set(MASKED, mode="drop")

    for _ in range(values.ndim - 1):
        one = jax.vmap(one)
    return one(values, shown)


class ItemHead(nn.Module):
    """One number per item: product of the projected state with the item table, plus an item bias."""

    num_items: int

    @nn.compact
    def factors(self, state: Array) -> tuple[Array, Array]:
        """Maps state [..., D] to a query [..., D] and the bias [N]."""
        bias = self.param("bias", nn.initializers.zeros_init(), (self.num_items,))
        return nn.Dense(state.shape[-1])(state), bias

    def __call__(self, state: Array, table: Array) -> Array:
        """Maps state [..., D] and table [N, D] to [..., N]."""
        query, bias = self.factors(state)
        # The bias is a column of the table, because adding it later would be a second pass over [..., N].
        query = jnp.concatenate([query, jnp.ones((*query.shape[:-1], 1))], -1)
        return query @ jnp.concatenate([table, bias[:, None]], 1).T


class ValueHead(nn.Module):
    """The value of a state."""

    @nn.compact
    def __call__(self, state: Array) -> Array:
        """Maps [..., D] to [...]."""
        hidden = nn.relu(nn.Dense(state.shape[-1])(state))
        return nn.Dense(1)(hidden)[..., 0]


class ActorCriticOutput(NamedTuple):
    """Outputs of `ActorCritic` for a state.

    Attributes:
      logits: float32 [..., N], the policy's logits, unmasked.
      value: float32 [...], V.
      preference: float32 [..., N], uncentred advantages, see `centred_q`.
    """

    logits: Array
    value: Array
    preference: Array


CRITIC_HEADS = ("critic", "advantage")  # parts of `ActorCritic` without effect on the policy


class OnEncoder(nn.Module):
    """A network on the state encoder. Its other methods take histories or, instead, their encoded states.

    Attributes:
      num_items: N.
      length: L, the longest history.
      config: size of the encoder.
    """

    num_items: int
    length: int
    config: NetworkConfig

    def encode(self, history: Array) -> Array:
        """Maps histories int32 [..., L] to states float32 [..., D]."""
        return self.encoder(history)

    def embed(self, history: Array) -> Array:
        """Maps histories int32 [..., L] to rows of the item table, float32 [..., L, D]."""
        return self.encoder.items(history)

    def encode_embedded(self, items: Array, real: Array) -> Array:
        """Like `encode`, for embedded items float32 [..., L, D] and bool [..., L]: item or padding."""
        return self.encoder.encode_embedded(items, real)

    def states(self, seen: Array) -> Array:
        """Encodes histories; returns states, which are not integers, unchanged."""
        return self.encode(seen) if jnp.issubdtype(seen.dtype, jnp.integer) else seen


class ActorCritic(OnEncoder):
    """SASRec with an actor and a duelling critic on top; under ``jit`` unused outputs are not computed."""

    def setup(self) -> None:
        self.encoder = SASRec(self.num_items, self.length, self.config)
        self.actor = ItemHead(self.num_items)
        self.critic = ValueHead()
        self.advantage = ItemHead(self.num_items)

    def __call__(self, seen: Array) -> ActorCriticOutput:
        """Maps histories int32 [..., L], or states [..., D], to `ActorCriticOutput`."""
        state, table = self.states(seen), self.encoder.table()
        return ActorCriticOutput(self.actor(state, table), self.critic(state), self.advantage(state, table))

    def state_and_logits(self, seen: Array) -> tuple[Array, Array]:
        """The encoded state [..., D], and the policy's logits [..., N]."""
        state = self.states(seen)
        return state, self.actor(state, self.encoder.table())

    def actor_factors(self, seen: Array) -> tuple[Array, Array, Array]:
        """Query [..., D], table [N, D] and bias [N] of the actor: logits = ``query @ table.T + bias``."""
        query, bias = self.actor.factors(self.states(seen))
        return query, self.encoder.table(), bias


class QNetwork(nn.Module):
    """SASRec with a duelling Q head, Q = V + A - mean A (Wang et al., ICML 2016, eq. 9)."""

    num_items: int
    length: int
    config: NetworkConfig

    @nn.compact
    def __call__(self, history: Array) -> Array:
        """Maps int32 [..., L] to Q values [..., N]."""
        encoder = SASRec(self.num_items, self.length, self.config)
        state = encoder(history)
        advantage = ItemHead(self.num_items)(state, encoder.table())
        return ValueHead()(state)[..., None] + advantage - advantage.mean(-1, keepdims=True)


class Recommender(nn.Module):
    """SASRec with one score per item, for supervised training on next items."""

    num_items: int
    length: int
    config: NetworkConfig

    @nn.compact
    def __call__(self, history: Array, last_only: bool = True, deterministic: bool = True) -> Array:
        """Maps int32 [..., L] to scores [..., N] (or [..., L, N] without ``last_only``)."""
        encoder = SASRec(self.num_items, self.length, self.config)
        state = encoder(history, last_only=last_only, deterministic=deterministic)
        return ItemHead(self.num_items)(state, encoder.table())


def centred_q(output: ActorCriticOutput, shown: Array) -> Array:
    """Q values whose mean under the policy is the state value: Q = V + A - sum_b pi(b) A(b).

    The duelling form of Wang et al. (ICML 2016, eq. 9), with the policy in place of the uniform
    distribution. So Q-learning before deployment and value learning after it train the same critic.

    Args:
      output: of `ActorCritic`, leading axes [...].
      shown: int32 [..., any], items that may not be recommended.

    Returns:
      float32 [..., N]; shown items have ``MASKED``.
    """
    # The critic's loss must not change the policy.
    policy = jax.lax.stop_gradient(jax.nn.softmax(mask_shown(output.logits, shown)))
    mean = jnp.sum(policy * output.preference, -1, keepdims=True)
    return mask_shown(output.value[..., None] + output.preference - mean, shown)

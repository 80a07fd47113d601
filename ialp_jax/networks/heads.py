"""Actor, critic and Q heads on top of the state encoder, and the networks built from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from ialp_jax.needed import needed
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.sasrec import SASRec
from ialp_jax.types import Array, Key

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
POLICY_HEADS = ("actor", "ItemHead_0")  # last layer of the policy in `ActorCritic` and in `Recommender`


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

    def factors(self, seen: Array) -> tuple[Array, Array, Array]:
        """Query [..., D], table [N + 1, D] and bias [N] of the actor.

        Logits are ``query @ table[1:].T + bias``. The table is not cut here, because that would copy it.
        """
        query, bias = self.actor.factors(self.states(seen))
        return query, self.encoder.items.embedding, bias


class QNetwork(OnEncoder):
    """SASRec with a duelling Q head, Q = V + A - mean A (Wang et al., ICML 2016, eq. 9)."""

    def setup(self) -> None:
        # Saved parameters have these names.
        self.encoder = SASRec(self.num_items, self.length, self.config, name="SASRec_0")
        self.advantage = ItemHead(self.num_items, name="ItemHead_0")
        self.value = ValueHead(name="ValueHead_0")

    def __call__(self, seen: Array) -> Array:
        """Maps histories int32 [..., L], or states [..., D], to Q values [..., N]."""
        state = self.states(seen)
        advantage = self.advantage(state, self.encoder.table())
        return self.value(state)[..., None] + advantage - advantage.mean(-1, keepdims=True)


class Recommender(OnEncoder):
    """SASRec with one score per item, for supervised training on next items."""

    def setup(self) -> None:
        # Saved parameters have these names.
        self.encoder = SASRec(self.num_items, self.length, self.config, name="SASRec_0")
        self.scores = ItemHead(self.num_items, name="ItemHead_0")

    def __call__(self, seen: Array, last_only: bool = True, deterministic: bool = True) -> Array:
        """Maps histories int32 [..., L], or states [..., D], to scores [..., N].

        Without ``last_only``, it maps histories to the scores at all positions, [..., L, N].
        """
        if last_only and deterministic:
            state = self.states(seen)
        else:
            state = self.encoder(seen, last_only=last_only, deterministic=deterministic)
        return self.scores(state, self.encoder.table())

    def factors(self, seen: Array) -> tuple[Array, Array, Array]:
        """Query [..., D], table [N + 1, D] and bias [N]; see `ActorCritic.factors`."""
        query, bias = self.scores.factors(self.states(seen))
        return query, self.encoder.items.embedding, bias


def tempered(params: Any, temperature: Array | float) -> Any:
    """Parameters of `ActorCritic` or `Recommender` whose policy is softmax(logits / temperature).

    Divides the last layer of the policy by the temperature. Nothing else changes: values, preferences and
    encoded states are those of ``params``.

    Args:
      params: parameters of one network, or of S networks [S, ...].
      temperature: positive; float32 [] or a number.
    """
    layers = params["params"]
    head = next(name for name in POLICY_HEADS if name in layers)
    scaled = jax.tree.map(lambda leaf: leaf / temperature, layers[head])
    return {**params, "params": {**layers, head: scaled}}


def initial_params(network: nn.Module, key: Key, history: Array) -> Any:
    """Random parameters of a network, as from ``network.init``; only the shape of ``history`` matters.

    ``network.init`` would also run the network, and compile each of its operations as a separate program.
    """
    traced, shapes = jax.make_jaxpr(network.init, return_shape=True)(key, history)
    operations, _ = needed(traced.jaxpr)
    init = jaxpr_as_fun(traced.replace(jaxpr=traced.jaxpr.replace(eqns=operations)))
    return jax.tree.unflatten(jax.tree.structure(shapes), init(key, history))


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

"""Acting rules that agents share: from observations to actions, with remembered encoded histories.

Catalogues with very many items are streamed, see `streaming`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import AgentState, Encoder, News, Params
from ialp_jax.agents.sampling import sample
from ialp_jax.agents.streaming import Factors, blocks_of, choose_streamed, summaries
from ialp_jax.mesh import by_users
from ialp_jax.networks.heads import ActorCritic, OnEncoder, mask_shown
from ialp_jax.types import Array, Key, Observation

STREAM_FROM = 2**23  # with more logits than this, items are streamed
ELSEWHERE = 64  # times as many on a GPU: products over all items are cheap there, loops are not
LOGITS_UP_TO = 2**13  # items; in larger catalogues, agents do not remember logits


def sampler(network: ActorCritic) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """The `Agent.act` that samples from the actor of ``state.params``; see `act_on_logits`."""

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False, encoded: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        return act_on_logits(network, state.params, observation, key, greedy, encoded)

    return act


def encoder(network: OnEncoder) -> Encoder:
    """The `Agent.encoder` of an agent that acts with ``state.params``."""
    return Encoder(lambda state, history: network.apply(state.params, history, method="encode"))


def two_encoders(network: OnEncoder, frozen: Callable[[AgentState], Params]) -> Encoder:
    """The `Agent.encoder` of an agent that acts with two sets of parameters.

    Args:
      network: network for both sets.
      frozen: function that returns the first set; the second set is ``state.params``.
    """

    def encode(state: AgentState, history: Array) -> tuple[Array, Array]:
        first, second = (
            network.apply(params, history, method="encode") for params in (frozen(state), state.params)
        )
        return first, second

    return Encoder(encode)


class Remembered(NamedTuple):
    """An encoded history, as remembered by agents that choose from all items.

    Attributes:
      state: float32 [..., D], the encoded history.
      by_block: float32 [..., blocks], see `streaming.summaries`; 0 if items are not streamed.
      logits: float32 [..., N] of the actor; None in catalogues of more than ``LOGITS_UP_TO`` items.
    """

    state: Array
    by_block: Array
    logits: Array | None = None


def streaming_encoder(
    network: OnEncoder,
    params: Callable[[Any], Params] = lambda state: state.params,
) -> Encoder:
    """The `Agent.encoder` of an agent that acts with `streamed`.

    If `streams` is true, it also remembers ``by_block``.

    Args:
      network: has the method ``factors``.
      params: function that returns the parameters of the network from a state.
    """

    def encode(state: Any, history: Array) -> Remembered:
        encoded = network.apply(params(state), history, method="encode")
        return Remembered(encoded, jnp.zeros((*encoded.shape[:-1], blocks_of(network.num_items).total)))

    def hide(state: Any, encoded: Remembered, news: News, greedy: bool) -> Remembered:
        if not streams(network, news.shown.shape[:-1]):
            return encoded
        query, *factors = network.apply(params(state), encoded.state, method="factors")
        by_block = summaries(query, Factors(*factors), news, greedy, encoded.by_block)
        return encoded._replace(by_block=by_block)

    return Encoder(encode, hide)


def sampler_encoder(network: ActorCritic) -> Encoder:
    """The `Agent.encoder` of an agent that acts with `sampler`; it also remembers the logits."""
    streaming = streaming_encoder(network)

    def encode(state: AgentState, history: Array) -> Remembered:
        encoded = streaming.encode(state, history)
        few = network.num_items <= LOGITS_UP_TO
        return encoded._replace(logits=network.apply(state.params, encoded.state).logits if few else None)

    def hide(state: AgentState, encoded: Remembered, news: News, greedy: bool) -> Remembered:
        encoded = streaming.hide(state, encoded, news, greedy)
        if encoded.logits is None:
            return encoded
        logits = by_users(lambda _, *of_users: mask_shown(*of_users), (), encoded.logits, news.shown)
        return encoded._replace(logits=logits)

    return Encoder(encode, hide)


def streams(network: OnEncoder, users: tuple[int, ...]) -> bool:
    """Whether the logits of ``users`` (leading axes) need so much memory that items are streamed."""
    most = STREAM_FROM * (1 if jax.default_backend() == "cpu" else ELSEWHERE)
    return len(users) == 1 and users[0] * network.num_items > most


def streamed(
    network: OnEncoder,
    params: Params,
    history: Array,
    key: Key | None,
    shown: Array,
    encoded: Remembered | None,
    count: int = 1,
) -> Array:
    """Chooses from streamed items, see `choose_streamed`.

    Args:
      network, params: have the method ``factors``.
      history: int32 [B, L].
      key: consumed; None: the choices are greedy.
      shown: int32 [B, any], items that must not be chosen; 0 is ignored.
      encoded: result of `streaming_encoder`, which has hidden the items in ``shown``; None: the histories are
        encoded here.
      count: K.

    Returns:
      int32 [B, K], 0..N-1.
    """
    seen, by_block = (history, None) if encoded is None else (encoded.state, encoded.by_block)
    query, *factors = network.apply(params, seen, method="factors")
    return choose_streamed(key, query, Factors(*factors), shown, count, by_block)


def act_on_logits(
    network: ActorCritic,
    params: Params,
    observation: Observation,
    key: Key,
    greedy: bool,
    encoded: Remembered | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Samples from the actor, without shown items; if greedy, takes the most probable item.

    If the logits would need too much memory, the items are streamed, see `streaming`.

    Args:
      network, params: the actor.
      observation: of users [...].
      key: consumed.
      greedy: whether the most probable item is taken.
      encoded: result of `sampler_encoder`; None: the histories are encoded here.

    Returns:
      Actions, int32 [...], and extras with ``value`` [...]: the critic's V, for `actor_critic.estimate`.
    """
    seen = observation.history if encoded is None else encoded.state
    output = network.apply(params, seen)
    extras = {"value": output.value}
    history, shown = observation
    if streams(network, history.shape[:-1]):
        chosen = streamed(network, params, history, None if greedy else key, shown, encoded)
        return chosen[:, 0], extras
    if encoded is None or encoded.logits is None:
        logits = mask_shown(output.logits, observation.shown)
    else:
        logits = encoded.logits
    if greedy:
        return jnp.argmax(logits, -1).astype(jnp.int32), extras
    return sample(key, logits), extras

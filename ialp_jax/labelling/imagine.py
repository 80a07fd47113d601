"""Imagined sessions of offline users: the actor proposes candidates, and labels replace users' responses.

In each step the actor proposes K candidates. The label names the candidate that the user would take, or
"none". The label determines the action, the reward and the next history. Patience and horizon are the same as
in the simulator.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.actor_critic import Remembered, streamed, streaming_encoder, streams
from ialp_jax.agents.base import Encoder, News, Params
from ialp_jax.agents.sampling import candidates as draw_candidates
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.simulator.environment import SessionEnvironment, respond
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training.encoded import Memory, empty_memory, refreshed
from ialp_jax.training.rollout import Users, start_users
from ialp_jax.types import Array, Key, Labels, Observation


def imagined_params(params: SessionParams, windows: np.ndarray) -> SessionParams:
    """Returns a world whose sessions start from the given histories [W, L] of offline users.

    This world keeps only the dynamics that also apply if labels replace responses, see ``Dynamics.imagined``.
    """
    return params.replace(
        start_histories=jnp.asarray(windows),
        users=jnp.arange(len(windows)),
        dynamics=params.dynamics.imagined(),
    )


def start_sessions(env: SessionEnvironment, params: SessionParams, key: Key, sessions: int) -> Users:
    """Starts the imagined sessions, before the first round."""
    return start_users(env, params, stream(key, "imagine"), sessions)


def propose(
    network: ActorCritic,
    count: int,
    actor: Params,
    observation: Observation,
    key: Key,
    alike: np.ndarray | None = None,
    memory: Memory | None = None,
) -> tuple[np.ndarray, Memory | None]:
    """Draws K different items per session from the actor.

    Args:
      network, actor: the actor that proposes.
      count: K.
      observation: observation of B sessions.
      key: consumed.
      alike: int32 [N + 1], items with the same number have the same words in a prompt; None: all differ.
      memory: the histories that this actor has encoded, see `remember`; None: encodes all.

    Returns:
      int32 [B, K], 1..N, in the order of the draws. The candidates of a session have different words, and the
      session has not shown any of them before. And the memory after this step.

    Raises:
      InputError: a session has fewer than K such items left.
    """
    shown = np.asarray(observation.shown)
    if count > network.num_items:
        raise InputError(
            f"--config.labelling.candidates={count}: the world has {network.num_items} items; use fewer"
        )
    if alike is None:
        drawn, memory = _draw(network, count, actor, observation, shown, key, memory)
        items = np.asarray(drawn)
        words, shown_words = items, shown
    else:
        wide = min(count * int(np.bincount(alike).max()), len(alike) - 1)
        hidden = _members(alike)[alike[shown]].reshape(len(shown), -1)
        drawn, memory = _draw(network, wide, actor, observation, hidden, key, memory)
        items = np.stack([_first_different(row, alike, count) for row in np.asarray(drawn)])
        words, shown_words = alike[items], alike[shown]
    repeated = np.diff(np.sort(words, 1), axis=1) == 0
    if repeated.any() or any(np.isin(row, past).any() for row, past in zip(words, shown_words, strict=True)):
        raise InputError(
            f"--config.labelling.candidates={count}: a session has seen so many of the items that fewer than "
            f"{count} others are left; use fewer, or lower --config.simulator.horizon"
        )
    return items, memory


def remember(network: ActorCritic, actor: Params, users: Users) -> Memory | None:
    """The memory for `propose`, before the first step of an actor."""
    return empty_memory(_encoder(network), actor, users.observation)


def _encoder(network: ActorCritic, hidden: Array | None = None) -> Encoder:
    """Encodes with the parameters of an actor as the state.

    Args:
      network: of the actor.
      hidden: int32 [B, any], for each shown item the same number of items that must not be chosen. None: they
        are the shown items.
    """
    encode, hide = streaming_encoder(network, params=lambda actor: actor)

    def hide_alike(actor: Params, encoded: Remembered, news: News, greedy: bool) -> Remembered:
        new = jnp.repeat(news.new, hidden.shape[1] // news.new.shape[1], axis=1)
        return hide(actor, encoded, News(hidden, news.changed, new), greedy)

    return Encoder(encode, hide if hidden is None else hide_alike)


def _members(alike: np.ndarray) -> np.ndarray:
    """The items of each number in ``alike``, int32 [numbers, most], padded with 0; item 0 is no member."""
    order = np.argsort(alike[1:], kind="stable") + 1
    numbers = alike[order]
    place = np.arange(len(order)) - np.searchsorted(numbers, numbers)
    members = np.zeros((alike.max() + 1, place.max() + 1), np.int32)
    members[numbers, place] = order
    return members


@partial(jax.jit, static_argnums=(0, 1))
def _draw(
    network: ActorCritic,
    count: int,
    actor: Params,
    observation: Observation,
    hidden: Array,
    key: Key,
    memory: Memory | None,
) -> tuple[Array, Memory | None]:
    """Draws items int32 [B, count], 1..N. Items in ``hidden`` come last; 0 is ignored. Returns the memory."""
    if memory is not None:
        memory = refreshed(_encoder(network, hidden), actor, memory, observation)
    encoded, history = memory and memory.encoded, observation.history
    if streams(network, hidden.shape[:-1]):
        return streamed(network, actor, history, key, hidden, encoded, count) + 1, memory
    seen = history if encoded is None else encoded.state
    logits = mask_shown(network.apply(actor, seen).logits, hidden)
    return draw_candidates(key, logits, count) + 1, memory


def _first_different(items: np.ndarray, alike: np.ndarray, count: int) -> np.ndarray:
    """Returns the first ``count`` items with different words. If there are fewer, repeats the first item."""
    first = np.sort(np.unique(alike[items], return_index=True)[1])[:count]
    return items[np.pad(first, (0, count - len(first)))]


@partial(jax.jit, static_argnums=0)
def answer(
    env: SessionEnvironment,
    params: SessionParams,
    users: Users,
    item: Array,
    liked: Array,
    valid: Array,
    key: Key,
) -> tuple[Users, Array, Array]:
    """Applies labels to sessions. A new session replaces an ended one. Invalid labels change nothing.

    Args:
      env, params: environment and parameters of the imagined world.
      users: B sessions.
      item: int32 [B], 1..N.
      liked, valid: bool [B].
      key: draws new sessions.

    Returns:
      Users [B], terminated bool [B], truncated bool [B].
    """
    state = jax.vmap(respond, in_axes=(0, 0, 0, None))(users.state, item, liked, params)
    terminated = jax.vmap(env.is_terminated, in_axes=(0, None))(state, params) & valid
    truncated = jax.vmap(env.is_truncated, in_axes=(0, None))(state, params) & valid
    after = Users(Observation(state.history, state.shown), state)
    fresh = start_users(env, params, key, item.shape[0])

    def pick(condition: Array, yes: Users, no: Users) -> Users:
        def leaf(a: Array, b: Array) -> Array:
            return jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        return jax.tree.map(leaf, yes, no)

    continued = pick(valid, after, users)
    return pick(terminated | truncated, fresh, continued), terminated, truncated


def chosen_item(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Returns the recommended items, int32 [P], ids 1..N, and whether each is liked, bool [P].

    If the label is ``none``, the recommended item is the first sampled candidate, and it is not liked.
    """
    liked = labels.choice > 0
    column = np.where(liked, labels.choice - 1, 0)
    item = np.take_along_axis(labels.candidates, column[:, None], 1)[:, 0]
    return item.astype(np.int32), liked

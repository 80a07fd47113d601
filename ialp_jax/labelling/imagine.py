"""Imagined sessions of offline users: the actor proposes candidates, and labels replace users' responses.

In each step the actor proposes K candidates. The label names the candidate that the user would take, or
"none". The label determines the action, the reward and the next history. Patience is the same as in the
simulator. The horizon is shorter, so that histories keep real likes of the user, see `LabellingConfig`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.acting import Remembered, streamed, streaming_encoder, streams
from ialp_jax.agents.base import Encoder, News, Params
from ialp_jax.agents.sampling import candidates as draw_candidates
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.llm.prompting.alike import different, largest
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.simulator.environment import SessionEnvironment, respond
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.training.encoded import Memory, empty_memory, refreshed
from ialp_jax.training.rollout import start_users
from ialp_jax.types import Array, Key, Labels, Observation


def imagined_params(params: SessionParams, windows: np.ndarray) -> SessionParams:
    """Session parameters with which sessions start from the given histories [W, L] of offline users.

    They keep only the dynamics that also apply if labels replace responses, see ``Dynamics.imagined``.
    """
    return params.replace(
        start_histories=jnp.asarray(windows),
        users=jnp.arange(len(windows)),
        dynamics=params.dynamics.imagined(),
    )


class Sessions(NamedTuple):
    """B imagined sessions.

    Attributes:
      observation: what the actor sees.
      state: state of the simulator; ``state.user`` is the window in which the session started.
      horizon: int32 [B], number of steps after which each session is truncated.
    """

    observation: Observation
    state: SessionState
    horizon: Array


def start_sessions(
    env: SessionEnvironment,
    params: SessionParams,
    key: Key,
    sessions: int,
    horizon: int | None = None,
    staggered: bool = False,
) -> Sessions:
    """Starts the imagined sessions, before the first round.

    Args:
      env, params: environment and parameters of the imagined world.
      key: the streams of windows and of horizons are derived from this key.
      sessions: B.
      horizon: number of steps after which a session is truncated; None: that of the simulator.
      staggered: whether the horizons of these first sessions are spread evenly over 1 to ``horizon``. A
        session with a short horizon represents a session that began earlier. But its history has only likes
        from the log, so no like is invented.
    """
    longest = params.max_steps_in_episode if horizon is None else horizon
    first = np.full(sessions, longest)
    if staggered:
        rank = np.asarray(jax.random.permutation(stream(key, "stagger"), sessions))
        first = 1 + rank.astype(np.int64) * longest // sessions
    users = start_users(env, params, stream(key, "imagine"), sessions)
    return Sessions(*users, jnp.asarray(first, jnp.int32))


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
      session has not shown any of them before. Also the memory after this step.

    Raises:
      InputError: a session has fewer than K such items left.
    """
    shown = np.asarray(observation.shown)
    require_left(network.num_items, count, shown, alike)
    number, hidden = widened(count, shown, alike)
    drawn, memory = _draw(network, number, actor, observation, hidden, key, memory)
    return first_different(np.asarray(drawn), count, alike), memory


def require_left(num_items: int, count: int, shown: np.ndarray, alike: np.ndarray | None) -> None:
    """Raises InputError if a session has fewer than ``count`` items with different, unseen words left.

    Args:
      num_items: N.
      count: K.
      shown: int32 [B, any], items that the sessions have shown; 0 is ignored.
      alike: as in `propose`.
    """
    if count > num_items:
        raise InputError(f"--config.labelling.candidates={count}: the world has {num_items} items; use fewer")
    total, words = (num_items, shown) if alike is None else (len(np.unique(alike[1:])), alike[shown])
    ordered = np.sort(words, axis=1)
    used = (ordered[:, 0] > 0) + (np.diff(ordered, axis=1) > 0).sum(1)
    if count > total - used.max():
        raise InputError(
            f"--config.labelling.candidates={count}: a session has seen so many of the items that fewer than "
            f"{count} others are left; use fewer, or lower --config.labelling.horizon"
        )


def widened(count: int, taken: np.ndarray, alike: np.ndarray | None) -> tuple[int, np.ndarray]:
    """How many items to draw so that ``count`` of them have different words, and which items to hide.

    Args:
      count: number of items that are needed.
      taken: int32 [B, any], items whose words must not be drawn; 0 is ignored.
      alike: as in `propose`.

    Returns:
      The number of items to draw, and int32 [B, any], all items with the words of ``taken``.
    """
    if alike is None:
        return count, taken
    number = min(count * largest(alike), len(alike) - 1)
    return number, _members(alike)[alike[taken]].reshape(len(taken), -1)


def first_different(drawn: np.ndarray, count: int, alike: np.ndarray | None) -> np.ndarray:
    """The first ``count`` items with different words in each row of draws [B, any], int32 [B, count]."""
    if alike is None:
        return drawn[:, :count]
    return np.stack([different(row, alike)[:count] for row in drawn])


def remember(network: ActorCritic, actor: Params, sessions: Sessions) -> Memory | None:
    """The memory for `propose`, before the first step of an actor."""
    return empty_memory(_encoder(network), actor, sessions.observation)


def _encoder(network: ActorCritic, hidden: Array | None = None) -> Encoder:
    """The encoder of an actor, whose argument ``state`` is the parameters of the actor.

    Args:
      network: network of the actor.
      hidden: int32 [B, any], items that must not be chosen, equally many for each shown item. None: only the
        shown items.
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


@partial(jax.jit, static_argnums=0)
def answer(
    env: SessionEnvironment,
    params: SessionParams,
    sessions: Sessions,
    item: Array,
    liked: Array,
    valid: Array,
    key: Key,
    horizon: int,
) -> tuple[Sessions, Array, Array]:
    """Applies labels to sessions. A new session replaces an ended one. Invalid labels change nothing.

    Args:
      env, params: environment and parameters of the imagined world.
      sessions: B sessions.
      item: int32 [B], 1..N.
      liked, valid: bool [B].
      key: draws new sessions.
      horizon: number of steps after which the new sessions are truncated.

    Returns:
      Sessions [B], terminated bool [B], truncated bool [B].
    """
    state = jax.vmap(respond, in_axes=(0, 0, 0, None))(sessions.state, item, liked, params)
    left = jax.vmap(env.is_terminated, in_axes=(0, None))(state, params)
    terminated, truncated = left & valid, (state.time >= sessions.horizon) & ~left & valid
    after = Sessions(Observation(state.history, state.shown), state, sessions.horizon)
    users = start_users(env, params, key, item.shape[0])
    fresh = Sessions(*users, jnp.full_like(sessions.horizon, horizon))

    def pick(condition: Array, yes: Sessions, no: Sessions) -> Sessions:
        def leaf(a: Array, b: Array) -> Array:
            return jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        return jax.tree.map(leaf, yes, no)

    continued = pick(valid, after, sessions)
    return pick(terminated | truncated, fresh, continued), terminated, truncated


def chosen_item(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Returns the recommended items, int32 [P], ids 1..N, and whether each is liked, bool [P].

    If the label is ``none``, the recommended item is the first candidate, and it is not liked. If only the
    actor proposes, this is its first draw. Candidates of several proposers are in random order.
    """
    return chosen_column(labels, labels.candidates).astype(np.int32), labels.choice > 0


def chosen_column(labels: Labels, values: np.ndarray) -> np.ndarray:
    """The value of each recommended item, [P], from the values of all candidates, [P, K]."""
    column = np.maximum(labels.choice - 1, 0)
    return np.take_along_axis(values, column[:, None], 1)[:, 0]

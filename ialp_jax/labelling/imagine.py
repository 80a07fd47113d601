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

from ialp_jax.agents.base import Params
from ialp_jax.agents.sampling import candidates as draw_candidates
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.networks.heads import MASKED, ActorCritic, mask_shown
from ialp_jax.simulator.environment import SessionEnvironment, respond
from ialp_jax.simulator.types import SessionParams
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
) -> np.ndarray:
    """Draws K different items per session from the actor.

    Args:
      network, actor: the actor that proposes.
      count: K.
      observation: observation of B sessions.
      key: consumed.
      alike: int32 [N + 1], items with the same number have the same words in a prompt; None: all differ.

    Returns:
      int32 [B, K], 1..N, in the order of the draws. The candidates of a session have different words, and the
      session has not shown any of them before.

    Raises:
      InputError: a session has fewer than K such items left.
    """
    shown = np.asarray(observation.shown)
    if count > network.num_items:
        raise InputError(
            f"--config.labelling.candidates={count}: the world has {network.num_items} items; use fewer"
        )
    if alike is None:
        items = np.asarray(_draw(network, count, actor, observation, key))
        words, shown_words = items, shown
    else:
        wide = min(count * int(np.bincount(alike).max()), len(alike) - 1)
        drawn = np.asarray(_draw(network, wide, actor, observation, key, jnp.asarray(alike)))
        items = np.stack([_first_different(row, alike, count) for row in drawn])
        words, shown_words = alike[items], alike[shown]
    repeated = np.diff(np.sort(words, 1), axis=1) == 0
    if repeated.any() or any(np.isin(row, past).any() for row, past in zip(words, shown_words, strict=True)):
        raise InputError(
            f"--config.labelling.candidates={count}: a session has seen so many of the items that fewer than "
            f"{count} others are left; use fewer, or lower --config.simulator.horizon"
        )
    return items


@partial(jax.jit, static_argnums=(0, 1))
def _draw(
    network: ActorCritic,
    count: int,
    actor: Params,
    observation: Observation,
    key: Key,
    alike: Array | None = None,
) -> Array:
    """Draws items int32 [B, count], 1..N. Shown items, and items with the words of shown items, come last."""
    logits = mask_shown(network.apply(actor, observation.history).logits, observation.shown)
    if alike is not None:

        def mask(row: Array, shown: Array) -> Array:
            is_shown = jnp.zeros(alike.shape, bool).at[alike[shown]].set(True).at[0].set(False)
            return jnp.where(is_shown[alike[1:]], MASKED, row)

        logits = jax.vmap(mask)(logits, observation.shown)
    return draw_candidates(key, logits, count) + 1


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

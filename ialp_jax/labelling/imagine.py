"""Imagined sessions: offline users, met by the current actor, answered by labels.

The actor proposes K candidates per step, a label says which of them the user would take, or none. The
label decides the action, its reward and the next history; patience and horizon are the simulator's.
"""

from __future__ import annotations

from collections.abc import Callable
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
from ialp_jax.training.config import LabellingConfig
from ialp_jax.training.offline import appended
from ialp_jax.training.rollout import Users, start_users
from ialp_jax.types import Array, Key, Labels, Observation, Transition

# (histories [P, L], candidates [P, K], rows [P] of the windows that the sessions started from) -> Labels
Labeller = Callable[[np.ndarray, np.ndarray, np.ndarray], Labels]


def imagined_params(params: SessionParams, windows: np.ndarray) -> SessionParams:
    """A world whose sessions start from the given histories [W, L] of offline users.

    Of the session dynamics, those remain that act where labels answer, see ``Dynamics.imagined``.
    """
    return params.replace(
        start_histories=jnp.asarray(windows),
        users=jnp.arange(len(windows)),
        dynamics=params.dynamics.imagined(),
    )


def start_sessions(
    env: SessionEnvironment, params: SessionParams, key: Key, config: LabellingConfig
) -> Users:
    """The imagined sessions before the first round."""
    return start_users(env, params, stream(key, "imagine"), config.sessions)


def label_round(
    env: SessionEnvironment,
    params: SessionParams,
    network: ActorCritic,
    actor: Params,
    users: Users,
    labeller: Labeller,
    key: Key,
    config: LabellingConfig,
    on_step: Callable[[], None] = lambda: None,
    alike: np.ndarray | None = None,
) -> tuple[Users, dict[str, np.ndarray]]:
    """One round: ``steps`` steps of all imagined sessions under one actor.

    Args:
      env, params: of the imagined world.
      network, actor: who proposes candidates.
      users: sessions to continue.
      labeller: answers a whole step's prompts at once.
      key: consumed.
      config: sessions, steps, K.
      on_step: called after each step, for progress.
      alike: int32 [N + 1], items of one number have the same words in a prompt; None: all differ.

    Returns:
      The sessions afterwards, and arrays of P = steps * sessions rows, step by step: the fields of
      `Labels`, ``shown`` int32 [P, L + H], ``terminated``, ``truncated`` bool [P], ``session`` int32 [P].

    Raises:
      InputError: a session has seen so many items that fewer than K are left.
    """
    rows = []
    for number in range(config.steps):
        proposed = propose(
            network, config.candidates, actor, users.observation, stream(key, "propose", number), alike
        )
        before = jax.tree.map(np.asarray, users.observation)
        labels = labeller(before.history, proposed, np.asarray(users.state.user))
        item, liked = chosen_item(labels)
        users, terminated, truncated = answer(
            env, params, users, item, liked, labels.choice >= 0, stream(key, "user", number)
        )
        rows.append(
            {
                **labels._asdict(),
                "shown": before.shown,
                "terminated": np.asarray(terminated),
                "truncated": np.asarray(truncated),
                "session": np.arange(len(item), dtype=np.int32),
            }
        )
        on_step()
    return users, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def propose(
    network: ActorCritic,
    count: int,
    actor: Params,
    observation: Observation,
    key: Key,
    alike: np.ndarray | None = None,
) -> np.ndarray:
    """Draws K different items per session from the actor, none shown before, nor any of the same words.

    Args:
      network, actor: who proposes.
      count: K.
      observation: of B sessions.
      key: consumed.
      alike: int32 [N + 1], see `label_round`.

    Returns:
      int32 [B, K], 1..N, in the order of the draws.

    Raises:
      InputError: fewer than K are left.
    """
    shown = np.asarray(observation.shown)
    if count > network.num_items:
        raise InputError(
            f"--config.labelling.candidates={count}: the world has {network.num_items} items; ask fewer"
        )
    if alike is None:
        items = np.asarray(_draw(network, count, actor, observation, key))
        words, seen = items, shown
    else:
        wide = min(count * int(np.bincount(alike).max()), len(alike) - 1)
        drawn = np.asarray(_draw(network, wide, actor, observation, key, jnp.asarray(alike)))
        items = np.stack([_first_different(row, alike, count) for row in drawn])
        words, seen = alike[items], alike[shown]
    repeated = np.diff(np.sort(words, 1), axis=1) == 0
    if repeated.any() or any(np.isin(row, past).any() for row, past in zip(words, seen, strict=True)):
        raise InputError(
            f"--config.labelling.candidates={count}: a session has seen so many of the items that fewer than "
            f"{count} others are left; ask fewer, or lower --config.simulator.horizon"
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
    """Items int32 [B, count], 1..N; those shown, and of the same words, come last."""
    logits = mask_shown(network.apply(actor, observation.history).logits, observation.shown)
    if alike is not None:

        def mask(row: Array, shown: Array) -> Array:
            seen = jnp.zeros(alike.shape, bool).at[alike[shown]].set(True).at[0].set(False)
            return jnp.where(seen[alike[1:]], MASKED, row)

        logits = jax.vmap(mask)(logits, observation.shown)
    return draw_candidates(key, logits, count) + 1


def _first_different(items: np.ndarray, alike: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` items with different words; if there are fewer, the first one fills the rest."""
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
    """The sessions after the labels; one that ended is followed by a new one, an invalid label by nothing.

    Args:
      env, params: of the imagined world.
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
    """What a label recommends: item int32 [P], and whether it is liked, bool [P].

    Under ``none`` the first sampled candidate stands for what would have been recommended, not liked.
    """
    liked = labels.choice > 0
    column = np.where(liked, labels.choice - 1, 0)
    item = np.take_along_axis(labels.candidates, column[:, None], 1)[:, 0]
    return item.astype(np.int32), liked


def labelled_transitions(arrays: dict[str, np.ndarray]) -> tuple[Transition, np.ndarray]:
    """Stored labels as experience.

    Args:
      arrays: what `label_round` returned, rounds one after the other.

    Returns:
      Transition [M] of the M valid labels, and their rows in ``arrays``, int64 [M].
    """
    rows = np.flatnonzero(arrays["choice"] >= 0)
    labels = Labels(*(arrays[name][rows] for name in Labels._fields))
    item, liked = chosen_item(labels)
    shown, length = arrays["shown"][rows], labels.histories.shape[1]
    next_shown = shown.copy()
    next_shown[np.arange(len(rows)), length + (shown[:, length:] > 0).sum(1)] = item
    next_history = np.where(liked[:, None], appended(labels.histories, item), labels.histories)
    transitions = Transition(
        observation=Observation(labels.histories, shown),
        action=item - 1,
        reward=liked.astype(np.float32),
        terminated=arrays["terminated"][rows],
        truncated=arrays["truncated"][rows],
        next_observation=Observation(next_history.astype(np.int32), next_shown),
        extras={"candidates": labels.candidates - 1},
    )
    return transitions, rows


def training_data(arrays: dict[str, np.ndarray], total: int) -> tuple[Transition, int]:
    """Labelled transitions in arrays of fixed size, so that more rounds need no new compilation.

    Args:
      arrays: of the rounds so far.
      total: rows of all rounds, at least those of ``arrays``.

    Returns:
      Transition [total], the valid ones first and zeros behind them, and how many are valid.
    """
    transitions, rows = labelled_transitions(arrays)

    def pad(leaf: np.ndarray) -> np.ndarray:
        return np.pad(leaf, [(0, total - len(rows)), *[(0, 0)] * (leaf.ndim - 1)])

    return jax.tree.map(pad, transitions), len(rows)


def rounds_until(arrays: dict[str, np.ndarray], number: int) -> int:
    """How many valid labels the rounds 0..number gave."""
    return int(np.sum((arrays["round"] <= number) & (arrays["choice"] >= 0)))

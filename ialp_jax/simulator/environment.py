"""A session of a simulated user, as a gymnax environment.

One environment runs one session; ``jax.vmap`` over keys and states runs thousands of sessions in parallel.
The parameters hold all arrays of a world, and the state holds everything that changes. So one compiled
program serves every split of users and every setting of patience.
"""

from __future__ import annotations

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces

from ialp_jax.keys import unit, words
from ialp_jax.simulator import actions, dynamics
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.types import Array, Key, Observation


class SessionEnvironment(environment.Environment[SessionState, SessionParams]):
    """A session: in each step the agent recommends one item, and the user likes it or not.

    - **Observation**: `Observation(history [L], shown [L + H])`.
    - **Action**: int in 0..N-1; action a recommends item a + 1. Outside ``jit`` and ``vmap``, `step` raises
      an error for any other action. Compiled code cannot raise errors: there, an action out of range
      recommends no item and gets no like. The user loses patience, ``shown`` gets a 0, and
      ``info["out_of_range"]`` is true. The adapters for NumPy agents always check actions.
    - **Response**: the user likes the item with the user model's probability. An item that is already in
      ``shown`` (which includes the starting history) is never liked again.
    - **Reward**: 1 for a like, 0 otherwise.
    - **History**: a liked item is appended on the right.
    - **Patience**: decreases by ``dislike_cost`` after an item without a like. It increases by ``recovery``
      after a like, up to its starting value.
    - **Terminated**: patience has reached 0. **Truncated**: H steps were taken and the user has not left.
      Terminated and truncated are never both true.
    - **info**: ``like``, ``out_of_range`` (bool) and ``user`` (int32), and gymnax's ``terminated``,
      ``truncated`` and ``final_observation`` (the true last observation, before the automatic reset).

    These are the rules of the preset ``paper``. The effects in ``params.dynamics`` change the probability of
    a like, patience and reward, and let users return: see ``dynamics.py``. If explicit dislikes are on, info
    has ``dislike`` (bool). If returns are on, info has ``returned`` (bool) and ``visit`` (int32: number of
    the visit after the step, from 0).
    """

    def step(
        self, key: Key, state: SessionState, action: Array, params: SessionParams
    ) -> tuple[Observation, SessionState, Array, Array, Array, dict[str, Any]]:
        """Takes a step with an automatic reset, as gymnax does. Raises as `actions.check_traced` does."""
        actions.check_traced(action, self.action_space(params).n)
        return self._step(key, state, action, params)

    @functools.partial(jax.jit, static_argnames=("self",))
    def _step(
        self, key: Key, state: SessionState, action: Array, params: SessionParams
    ) -> tuple[Observation, SessionState, Array, Array, Array, dict[str, Any]]:
        """Takes a step with one hash for two draws: the answer and the user of the next session.

        gymnax's `step` needs four hashes. Under random actions they would take most of the time.
        """
        like_word, user_word = words(key, "step")
        final, after, reward, terminated, info = self._answer(key, like_word, state, action, params)
        truncated = self.is_truncated(after, params)
        _, fresh = self._start_any(user_word, params)
        done = terminated | truncated
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, after)
        info |= {"terminated": terminated, "truncated": truncated, "final_observation": final}
        return Observation(state.history, state.shown), state, reward, terminated, truncated, info

    def reset_env(self, key: Key, params: SessionParams) -> tuple[Observation, SessionState]:
        """Starts the session of a user drawn uniformly from ``params.users``."""
        return self._start_any(jax.random.bits(key), params)

    def _start_any(self, word: Array, params: SessionParams) -> tuple[Observation, SessionState]:
        """Starts the session of the user that a word of 32 random bits chooses."""
        # The modulo makes some of the M users more likely, but at most by about M / 2^32.
        return self.start(params.users[word % params.users.shape[0]], params)

    def start(self, user: Array, params: SessionParams) -> tuple[Observation, SessionState]:
        """Starts the session of a given user."""
        history = params.start_histories[user]
        shown = jnp.pad(history, (0, params.max_steps_in_episode))
        state = SessionState(
            time=jnp.int32(0),
            user=user,
            history=history,
            shown=shown,
            patience=dynamics.full_patience(user, params),
            mood=dynamics.first_mood(user, params),
        )
        return Observation(history, shown), state

    def step_env(
        self, key: Key, state: SessionState, action: Array, params: SessionParams
    ) -> tuple[Observation, SessionState, Array, Array, dict[str, Any]]:
        """Recommends one item; see the class for the rules. `step` gives the same answer for the same key."""
        return self._answer(key, words(key, "step")[0], state, action, params)

    def _answer(
        self, key: Key, word: Array, state: SessionState, action: Array, params: SessionParams
    ) -> tuple[Observation, SessionState, Array, Array, dict[str, Any]]:
        """Does the same as `step_env`; ``word`` decides whether the user likes the item.

        The optional dynamics derive their own streams from ``key``.
        """
        item, in_range = actions.to_item(action, self.action_space(params).n)
        probability = dynamics.like_probability(state, item, params)
        like = (unit(word) < probability) & in_range & ~jnp.any(state.shown == item)
        dislike = dynamics.disliked(key, like, probability, params)
        state = respond(state, item, like, params, dislike)
        state, returned = dynamics.between_steps(key, state, item, params)
        reward, info = like.astype(jnp.float32), {"like": like, "user": state.user, "out_of_range": ~in_range}
        if dislike is not None:
            reward -= params.dynamics.dislikes.reward * dislike
            info["dislike"] = dislike
        if returned is not None:
            info |= {"returned": returned, "visit": state.mood.visit.number}
        terminated = self.is_terminated(state, params)
        return Observation(state.history, state.shown), state, reward, terminated, info

    def is_terminated(self, state: SessionState, params: SessionParams) -> Array:
        """Whether the user has left."""
        del params
        return state.patience <= 0

    def is_truncated(self, state: SessionState, params: SessionParams) -> Array:
        """Whether the horizon ended the session before the user left."""
        return (state.time >= params.max_steps_in_episode) & ~self.is_terminated(state, params)

    @property
    def name(self) -> str:
        """Environment name."""
        return "Session-v0"

    def action_space(self, params: SessionParams) -> spaces.Discrete:
        """One action per item."""
        return spaces.Discrete(params.user_model.item_bias.shape[0] - 1)

    def observation_space(self, params: SessionParams) -> spaces.Dict:
        """Vectors of item ids, padded with 0."""
        num_items = params.user_model.item_bias.shape[0] - 1
        length = params.start_histories.shape[1]

        def ids(size: int) -> spaces.Box:
            return spaces.Box(0, num_items, (size,), jnp.int32)

        return spaces.Dict({"history": ids(length), "shown": ids(length + params.max_steps_in_episode)})


def respond(
    state: SessionState, item: Array, like: Array, params: SessionParams, dislike: Array | None = None
) -> SessionState:
    """Updates a session with the user's answer to ``item``.

    The simulator draws the answer from the user model; an imagined session uses the LLM's label.

    Args:
      state: before the step.
      item: int32 [], 1..N.
      like: bool [].
      params: parameters of the world.
      dislike: bool [], whether the user disliked the item explicitly; None if explicit dislikes are off.

    Returns:
      The next state. ``is_terminated`` and ``is_truncated`` tell whether the session ended.
    """
    chex.assert_rank([item, like], 0)
    length = state.history.shape[0]
    liked = jnp.concatenate([state.history[1:], item[None]])
    recovered = jnp.minimum(state.patience + params.recovery, dynamics.full_patience(state.user, params))
    patience: Array = jnp.where(like, recovered, state.patience - params.dislike_cost)
    patience = dynamics.patience_after(patience, state, item, dislike, params)
    # `where` below avoids a scatter, which XLA would not fuse with the neighbouring operations.
    here = jnp.arange(state.shown.shape[0]) == length + state.time
    return state.replace(
        time=state.time + 1,
        history=jnp.where(like, liked, state.history),
        shown=jnp.where(here, item, state.shown),
        patience=patience,
        mood=dynamics.remember(state.mood, item, like, params),
    )

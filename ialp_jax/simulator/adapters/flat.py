"""Adapters for JAX agents: flat observations, and the five-value ``step`` of gymnax before 1.0."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from gymnax.environments import environment, spaces
from gymnax.wrappers import LegacyStepAPIWrapper

from ialp_jax.errors import InputError
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.types import Array, Key, Observation

ENCODINGS = ("bag", "ids")


class FlatSessions(environment.Environment[SessionState, SessionParams]):
    """`SessionEnvironment` whose observation is one float32 vector.

        env, params = ialp_jax.simulator.make("demo")
        env = FlatSessions(env)

    - ``encoding="bag"``: [N], for dense networks. 1 for an item of the history, -1 for an item that was shown
      and is not in the history, 0 for all others. The order of the history is lost.
    - ``encoding="ids"``: [2 L + H], for networks that embed items, and for large catalogues, if a replay
      buffer of bags needs too much memory. The vector holds the item ids of ``history``, then those of
      ``shown``, all divided by N.
      ``jnp.round(observation * N)`` returns the exact ids if N is below 2**23.

    The final observation in ``info`` is flat too. Agents without a mask of shown items may recommend an item
    again; a repeated item is never liked. For actions outside 0..N-1, see `SessionEnvironment`.
    """

    def __init__(self, env: SessionEnvironment, encoding: str = "bag") -> None:
        """Wraps ``env``. Raises InputError for an unknown encoding."""
        if encoding not in ENCODINGS:
            raise InputError(f"encoding {encoding!r}: unknown; known: {', '.join(ENCODINGS)}")
        self._env, self._encoding = env, encoding

    def _flat(self, observation: Observation, params: SessionParams) -> Array:
        num_items = self.action_space(params).n
        if self._encoding == "ids":
            return jnp.concatenate(observation).astype(jnp.float32) / num_items
        bag = jnp.zeros(num_items + 1).at[observation.shown].set(-1.0).at[observation.history].set(1.0)
        return bag[1:]

    def step(
        self, key: Key, state: SessionState, action: Array, params: SessionParams
    ) -> tuple[Array, SessionState, Array, Array, Array, dict[str, Any]]:
        """Takes a step in the wrapped environment, with automatic reset; flat observations."""
        observation, state, reward, terminated, truncated, info = self._env.step(key, state, action, params)
        info["final_observation"] = self._flat(info["final_observation"], params)
        return self._flat(observation, params), state, reward, terminated, truncated, info

    def reset_env(self, key: Key, params: SessionParams) -> tuple[Array, SessionState]:
        """Resets the wrapped environment; flat observation."""
        observation, state = self._env.reset_env(key, params)
        return self._flat(observation, params), state

    def step_env(
        self, key: Key, state: SessionState, action: Array, params: SessionParams
    ) -> tuple[Array, SessionState, Array, Array, dict[str, Any]]:
        """Takes a step in the wrapped environment; flat observation."""
        observation, state, reward, terminated, info = self._env.step_env(key, state, action, params)
        return self._flat(observation, params), state, reward, terminated, info

    def is_terminated(self, state: SessionState, params: SessionParams) -> Array:
        """Whether the user has left."""
        return self._env.is_terminated(state, params)

    def is_truncated(self, state: SessionState, params: SessionParams) -> Array:
        """Whether the horizon ended the session before the user left."""
        return self._env.is_truncated(state, params)

    @property
    def name(self) -> str:
        """Environment name."""
        return self._env.name

    def action_space(self, params: SessionParams) -> spaces.Discrete:
        """One action per item."""
        return self._env.action_space(params)

    def observation_space(self, params: SessionParams) -> spaces.Box:
        """A vector, see the class."""
        if self._encoding == "bag":
            return spaces.Box(-1.0, 1.0, (self.action_space(params).n,), jnp.float32)
        parts = self._env.observation_space(params).spaces.values()
        return spaces.Box(0.0, 1.0, (sum(part.shape[0] for part in parts),), jnp.float32)


class FiveValueSteps(LegacyStepAPIWrapper):
    """Environment whose ``step`` returns observation, state, reward, done, info, as gymnax before 1.0.

    rejax 0.1.3 does not work with gymnax 1.0, because it expects five values from ``step``. Example:

        env, params = ialp_jax.simulator.make("demo", split="online")
        agent = rejax.PPO.create(env=FiveValueSteps(FlatSessions(env)), env_params=params, ...)

    ``done`` is ``terminated | truncated``. So agents cannot distinguish the end of the horizon from a user
    who left, and bootstrap in neither case. This class adds only ``__deepcopy__`` to gymnax's wrapper,
    because rejax deep-copies its settings. On a new copy, which has no attributes yet, the wrapper's
    ``__getattr__`` would call itself without end.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> FiveValueSteps:
        """Returns the object itself, because nothing in it changes."""
        del memo
        return self

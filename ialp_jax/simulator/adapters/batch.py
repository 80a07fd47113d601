"""Sessions with NumPy inputs and outputs; the adapters for NumPy agents use this module."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from gymnax.environments import environment

from ialp_jax.errors import InputError
from ialp_jax.simulator.actions import check
from ialp_jax.simulator.types import SessionParams

NumpyObservation = np.ndarray | dict[str, np.ndarray]


class Step(NamedTuple):
    """Results of one step of B sessions, as NumPy arrays.

    Attributes:
      observation: [B, ...]; if a session ended, the first observation of the next session.
      reward: float32 [B].
      terminated, truncated: bool [B].
      final_observation: [B, ...]; if a session ended, its true last observation.
      info: further values, [B] each.
    """

    observation: NumpyObservation
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: NumpyObservation
    info: dict[str, np.ndarray]


def to_numpy(observation: Any) -> NumpyObservation:
    """Copies a struct observation to a dictionary of arrays, or a flat observation to an array; writable."""
    if hasattr(observation, "_asdict"):
        return {name: np.array(value) for name, value in observation._asdict().items()}
    return np.array(observation)


def row(observation: NumpyObservation, index: int) -> NumpyObservation:
    """Returns the observation of one of B sessions."""
    if isinstance(observation, dict):
        return {name: value[index] for name, value in observation.items()}
    return observation[index]


class SessionBatch:
    """Runs B sessions with one compiled program; when a session ends, a new one starts in its place.

    Attributes:
      env: a `SessionEnvironment` or a `FlatSessions`.
      params: parameters of the world.
      count: B.
    """

    def __init__(self, env: environment.Environment, params: SessionParams, count: int) -> None:
        """Compiles nothing yet. Raises InputError if ``count`` is below 1."""
        if count < 1:
            raise InputError(f"{count} sessions in parallel: must be at least 1")
        self.env, self.params, self.count = env, params, count
        self._key: jax.Array | None = None
        self._state: Any = None
        self._num_items = int(env.action_space(params).n)
        self._reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
        self._step = jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None)))

    def _keys(self) -> jax.Array:
        self._key, now = jax.random.split(self._key)
        return jax.random.split(now, self.count)

    def reset(self, seed: int) -> NumpyObservation:
        """Starts B sessions; the same seed gives the same sessions."""
        self._key = jax.random.key(seed)
        observation, self._state = self._reset(self._keys(), self.params)
        return to_numpy(observation)

    def step(self, actions: np.ndarray) -> Step:
        """Recommends one item in each session; actions are int [B], 0..N-1.

        Raises:
          ValueError: an action is not an integer in 0..N-1.
        """
        chosen = check(actions, self._num_items, (self.count,))
        observation, self._state, reward, terminated, truncated, info = self._step(
            self._keys(), self._state, chosen, self.params
        )
        final = to_numpy(info.pop("final_observation"))
        rest = {
            name: np.asarray(value) for name, value in info.items() if name not in ("terminated", "truncated")
        }
        ends = (np.asarray(terminated), np.asarray(truncated))
        return Step(to_numpy(observation), np.array(reward), *ends, final, rest)

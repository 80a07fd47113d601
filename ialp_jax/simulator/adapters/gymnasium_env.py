"""Adapters for gymnasium: an environment of one user, and a vector environment of many."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from gymnax.environments import environment
from gymnax.environments.spaces import gymnax_space_to_gym_space

from ialp_jax.simulator.actions import check
from ialp_jax.simulator.adapters.batch import NumpyObservation, SessionBatch, row, to_numpy
from ialp_jax.simulator.types import SessionParams

_SEEDS = 2**31 - 1


class SessionGym(gymnasium.Env):
    """Gymnasium environment of one session at a time.

    Observations are dictionaries of int32 vectors (``history``, ``shown``). If ``env`` is a `FlatSessions`,
    each observation is one float32 vector. Action a recommends item a + 1. After the end of a session, call
    `reset`. ``info`` holds ``like``, ``user``, ``out_of_range`` (never true here) and the values that the
    dynamics add, as Python numbers.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium's convention

    def __init__(self, env: environment.Environment, params: SessionParams) -> None:
        """Wraps ``env``, a `SessionEnvironment` or a `FlatSessions`, and the parameters of its world."""
        self._env, self._params, self._state, self._key = env, params, None, None
        self.action_space = gymnax_space_to_gym_space(env.action_space(params))
        self.observation_space = gymnax_space_to_gym_space(env.observation_space(params))

        def step(key: jax.Array, state: Any, action: int, params: SessionParams) -> tuple[Any, ...]:
            key, now = jax.random.split(key)
            observation, state, reward, terminated, info = env.step_env(now, state, action, params)
            return key, observation, state, reward, terminated, env.is_truncated(state, params), info

        self._reset, self._step = jax.jit(env.reset_env), jax.jit(step)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NumpyObservation, dict[str, Any]]:
        """Starts a session; the same seed gives the same session and later sessions. Ignores ``options``."""
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(_SEEDS)))
        self._key, now = jax.random.split(key)
        observation, self._state = self._reset(now, self._params)
        return to_numpy(observation), {}

    def step(self, action: int) -> tuple[NumpyObservation, float, bool, bool, dict[str, Any]]:
        """Recommends item ``action + 1``.

        Raises:
          ValueError: the action is not an integer in 0..N-1.
        """
        chosen = check(action, int(self.action_space.n))
        self._key, observation, self._state, reward, terminated, truncated, info = self._step(
            self._key, self._state, chosen, self._params
        )
        plain = {name: value.item() for name, value in info.items()}
        return to_numpy(observation), float(reward), bool(terminated), bool(truncated), plain


class SessionVectorEnv(gymnasium.vector.VectorEnv):
    """Gymnasium vector environment: runs B sessions with one compiled program.

    The autoreset mode is ``SAME_STEP``: if a session ended, the observation is the first of the next
    session. ``info["final_obs"][b]`` and ``info["final_info"]`` hold the last observation and info of the
    ended session, with the masks ``_final_obs`` and ``_final_info``, as in gymnasium's SyncVectorEnv.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, env: environment.Environment, params: SessionParams, num_envs: int) -> None:
        """Wraps ``env``, a `SessionEnvironment` or a `FlatSessions`; B = ``num_envs``."""
        self._batch, self.num_envs, self.render_mode = SessionBatch(env, params, num_envs), num_envs, None
        self.single_action_space = gymnax_space_to_gym_space(env.action_space(params))
        self.single_observation_space = gymnax_space_to_gym_space(env.observation_space(params))
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NumpyObservation, dict[str, Any]]:
        """Starts B sessions; one seed determines all of them. Ignores ``options``."""
        super().reset(seed=seed)
        return self._batch.reset(int(self.np_random.integers(_SEEDS))), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[NumpyObservation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Recommends item ``actions[b] + 1`` to user b; ``actions`` is int [B].

        Raises:
          ValueError: an action is not an integer in 0..N-1.
        """
        now = self._batch.step(actions)
        done = now.terminated | now.truncated
        infos: dict[str, Any] = _masked(now.info, ~done)
        if done.any():
            final: np.ndarray = np.full(self.num_envs, None, object)
            for index in np.flatnonzero(done):
                final[index] = row(now.final_observation, int(index))
            infos |= {"final_obs": final, "_final_obs": done}
            infos |= {"final_info": _masked(now.info, done), "_final_info": done}
        return now.observation, now.reward, now.terminated, now.truncated, infos


def _masked(info: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Infos in gymnasium's form: values [B], 0 outside the mask; the mask of ``k`` is in ``_k``."""
    masked: dict[str, np.ndarray] = {}
    for name, values in info.items():
        masked |= {name: np.where(mask, values, np.zeros_like(values)), f"_{name}": mask}
    return masked

"""Adapter for stable-baselines3, which trains on its own type of vector environment, ``VecEnv``.

stable-baselines3 is optional. If it is not installed, importing this module raises an InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnax.environments import environment
from gymnax.environments.spaces import gymnax_space_to_gym_space

from ialp_jax.errors import missing_package
from ialp_jax.simulator.adapters.batch import NumpyObservation, SessionBatch, row
from ialp_jax.simulator.types import SessionParams

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError:
    raise missing_package("SessionVecEnv", "stable_baselines3", "gym") from None


class SessionVecEnv(VecEnv):
    """stable-baselines3 vector environment: runs B sessions with one compiled program.

        env, params = ialp_jax.simulator.make("demo", split="online")
        model = stable_baselines3.PPO("MlpPolicy", SessionVecEnv(FlatSessions(env), params, 16))

    Without `FlatSessions`, observations are dictionaries, for ``MultiInputPolicy``. If a session ends,
    ``infos[b]`` has ``terminal_observation`` and ``TimeLimit.truncated``. To get returns and lengths, wrap
    the environment in ``VecMonitor``. One compiled program runs all users, so no user has a separate
    environment object. Therefore `env_method` and `set_attr` raise an error.
    """

    def __init__(
        self, env: environment.Environment, params: SessionParams, num_envs: int, seed: int = 0
    ) -> None:
        """Wraps ``env``, a `SessionEnvironment` or a `FlatSessions`; B = ``num_envs``."""
        self._batch = SessionBatch(env, params, num_envs)
        self._actions: np.ndarray | None = None
        self._resets = np.random.default_rng(seed)
        super().__init__(
            num_envs,
            gymnax_space_to_gym_space(env.observation_space(params)),
            gymnax_space_to_gym_space(env.action_space(params)),
        )

    def reset(self) -> NumpyObservation:
        """Starts B sessions. After a call of `seed`, that seed determines the sessions."""
        if self._seeds[0] is not None:
            self._resets = np.random.default_rng(self._seeds[0])
            self._reset_seeds()
        return self._batch.reset(int(self._resets.integers(2**31 - 1)))

    def step_async(self, actions: np.ndarray) -> None:
        """Stores the actions, int [B], 0..N-1. `step_wait` raises ValueError if an action is not valid."""
        self._actions = actions

    def step_wait(self) -> tuple[NumpyObservation, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Returns observation [B, ...], reward float32 [B], done bool [B], one info dictionary per user."""
        now = self._batch.step(self._actions)
        done = now.terminated | now.truncated
        infos: list[dict[str, Any]] = [
            {name: values[index].item() for name, values in now.info.items()}
            for index in range(self.num_envs)
        ]
        for index in np.flatnonzero(done):
            infos[index]["terminal_observation"] = row(now.final_observation, int(index))
            infos[index]["TimeLimit.truncated"] = bool(now.truncated[index])
        return now.observation, now.reward, done, infos

    def close(self) -> None:
        """Does nothing: there is nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns ``render_mode`` (None) for every user; raises AttributeError for any other attribute."""
        if attr_name != "render_mode":
            raise AttributeError(f"one compiled program steps all users: no attribute {attr_name!r} per user")
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises NotImplementedError, see the class."""
        raise NotImplementedError(f"one compiled program steps all users: cannot set {attr_name!r} per user")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Raises NotImplementedError, see the class."""
        raise NotImplementedError(f"one compiled program steps all users: no method {method_name!r} per user")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> Sequence[bool]:
        """Returns False for every user."""
        return [False for _ in self._get_indices(indices)]

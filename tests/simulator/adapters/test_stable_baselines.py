"""Tests the stable-baselines3 adapter: agents train, ends are correct, a missing package gives an error."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from ialp_jax.errors import InputError
from ialp_jax.simulator.adapters.flat import FlatSessions

NAME = "ialp_jax.simulator.adapters.stable_baselines"


def test_missing_stable_baselines3_raises_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    line = r"^SessionVecEnv needs stable_baselines3, [^\n]*pip install 'ialp_jax\[gym\]'"
    with pytest.raises(InputError, match=line):
        importlib.import_module(NAME)


@pytest.fixture
def users(world):
    pytest.importorskip("stable_baselines3")
    from ialp_jax.simulator.adapters.stable_baselines import SessionVecEnv

    return lambda flat, count=6, seed=0: SessionVecEnv(
        FlatSessions(world[0]) if flat else world[0], world[1], count, seed
    )


def test_infos_contain_ends_and_final_observations(users):
    env = users(False)
    assert env.observation_space.contains({name: value[0] for name, value in env.reset().items()})
    ends = []
    for number in range(40):
        observation, reward, done, infos = env.step((np.arange(6) * 7 + number) % env.action_space.n)
        assert (reward.dtype, done.dtype) == (np.float32, bool)
        for user in range(6):
            assert infos[user]["like"] == reward[user]
            assert ("terminal_observation" in infos[user]) == done[user]
            if done[user]:
                assert not observation["shown"][user][4:].any()
                final = infos[user]["terminal_observation"]["shown"]
                assert final[4:].any()
                ends.append(infos[user]["TimeLimit.truncated"])
                assert not ends[-1] or final[-1] > 0
    assert {True, False} == set(ends)


def test_seeds_determine_the_sessions(users):
    env = users(False)
    first = env.reset()["history"]
    assert np.any(env.reset()["history"] != first)
    np.testing.assert_array_equal(users(False).reset()["history"], first)
    assert np.any(users(False, seed=1).reset()["history"] != first)
    env.seed(5)
    again = env.reset()["history"]
    env.seed(5)
    np.testing.assert_array_equal(env.reset()["history"], again)


@pytest.mark.slow
def test_dqn_runs_and_ppo_of_the_example_learns(users):
    from stable_baselines3 import DQN

    DQN("MlpPolicy", users(True), learning_starts=60, buffer_size=500, seed=0, device="cpu").learn(300)
    from experiments.examples.sb3_ppo import main
    from ialp_jax.data import DataConfig, DemoConfig

    before, after = main(16_384, DataConfig(demo=DemoConfig(users=200, items=70, base=-2.5)))
    assert after > 1.4 * before


def test_methods_for_single_users_raise(users):
    env = users(True)
    assert env.get_attr("render_mode") == [None] * 6
    assert env.env_is_wrapped(object) == [False] * 6
    with pytest.raises(AttributeError, match="world"):
        env.get_attr("world")
    with pytest.raises(NotImplementedError, match="shout"):
        env.env_method("shout")
    with pytest.raises(NotImplementedError, match="mood"):
        env.set_attr("mood", 1)

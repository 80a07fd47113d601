"""Tests the gymnasium adapters with gymnasium's checker, and against its vector environment."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ialp_jax.errors import InputError
from ialp_jax.simulator.adapters.flat import FlatSessions
from ialp_jax.simulator.adapters.gymnasium_env import SessionGym, SessionVectorEnv

USERS = 5


@pytest.fixture(params=["struct", "flat"])
def made(world, request):
    env, params = world
    return (env if request.param == "struct" else FlatSessions(env)), params


def test_single_environment_passes_the_checker_of_gymnasium(made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(SessionGym(*made), skip_render_check=True)


def test_single_environment_ends_correctly_and_restarts_from_the_seed(world):
    env = SessionGym(*world)
    (first, info), ends = env.reset(seed=3), []
    for _ in range(20):
        observation, _ = env.reset()
        for action in range(12):
            before = observation
            observation, reward, terminated, truncated, info = env.step(action)
            np.testing.assert_array_equal(observation["shown"][4 + action], action + 1)
            assert reward == float(info["like"])
            assert (observation["history"][-1] == action + 1) == info["like"] or np.array_equal(
                observation["history"], before["history"]
            )
            if terminated or truncated:
                break
        ends.append((terminated, truncated))
    assert set(ends) <= {(True, False), (False, True)}
    again, _ = env.reset(seed=3)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def steps(env, count):
    """Returns the results of ``count`` steps with fixed actions."""
    rows, observation = [], env.reset(seed=0)[0]
    for number in range(count):
        actions = (np.arange(USERS) * 7 + number) % env.single_action_space.n
        after, *rest = env.step(actions)
        rows.append((observation, actions, after, *rest))
        observation = after
    return rows


def test_vector_environment_matches_its_spaces(made):
    env = SessionVectorEnv(*made, USERS)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.num_envs == USERS
    assert env.observation_space.contains(env.reset(seed=0)[0])
    assert env.action_space.contains(env.action_space.sample())
    for _, actions, after, reward, terminated, truncated, _ in steps(env, 5):
        assert env.action_space.contains(actions)
        assert env.observation_space.contains(after)
        assert reward.shape == terminated.shape == truncated.shape == (USERS,)
    with pytest.raises(InputError, match="0 sessions"):
        SessionVectorEnv(*made, 0)


def test_vector_environment_resets_in_the_same_step_and_returns_final_observations(world):
    env = SessionVectorEnv(*world, USERS)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    ended, time = 0, np.zeros(USERS, int)
    for _, actions, after, reward, terminated, truncated, info in steps(env, 40):
        done = terminated | truncated
        assert not np.any(terminated & truncated)
        assert ("final_obs" in info) == done.any()
        for user in range(USERS):
            shown = after["shown"][user]
            if not done[user]:
                time[user] += 1
                assert shown[4 + time[user] - 1] == actions[user] + 1
                assert info["_like"][user]
                assert info["like"][user] == reward[user]
                continue
            assert not shown[4:].any()  # the first observation of the next session
            final = info["final_obs"][user]["shown"]
            assert final[4 + time[user]] == actions[user] + 1
            assert info["_final_obs"][user]
            assert info["final_info"]["like"][user] == reward[user]
            assert not info["_like"][user]
            assert truncated[user] == (not terminated[user] and time[user] == 11)
            time[user], ended = 0, ended + 1
    assert ended >= USERS


def test_infos_have_the_form_of_sync_vector_env(world):
    ours = SessionVectorEnv(*world, USERS)
    theirs = SyncVectorEnv([lambda: SessionGym(*world)] * USERS, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    forms = []
    for env in (ours, theirs):
        info = next(row[-1] for row in steps(env, 40) if "final_obs" in row[-1])
        forms.append(
            {name: sorted(value) if isinstance(value, dict) else value.shape for name, value in info.items()}
        )
    for name, form in forms[0].items():
        # SyncVectorEnv leaves out these entries if all sessions ended.
        if name.removeprefix("_") not in ("like", "user", "out_of_range"):
            assert form == forms[1][name]


def test_seed_determines_all_sessions(world):
    one, same = (steps(SessionVectorEnv(*world, USERS), 6) for _ in range(2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a[2]["shown"], b[2]["shown"])
        np.testing.assert_array_equal(a[3], b[3])
    env = SessionVectorEnv(*world, USERS)
    first = env.reset(seed=0)[0]["history"]
    assert np.any(env.reset()[0]["history"] != first)
    np.testing.assert_array_equal(env.reset(seed=0)[0]["history"], first)

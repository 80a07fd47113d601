"""Actions outside the space: refused where they can be, and worth nothing where they cannot."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ialp_jax.simulator
from ialp_jax.data import DataConfig, DemoConfig
from ialp_jax.simulator import actions
from ialp_jax.simulator.adapters.flat import FlatSessions
from ialp_jax.simulator.adapters.gymnasium_env import SessionGym, SessionVectorEnv
from ialp_jax.simulator.config import SimulatorConfig

ITEMS = 50
HINT = "the actions are the whole numbers 0..49; recommend item a + 1 by action a"
OUTSIDE = (ITEMS, 1_000_000, -5, -1, 2**40)
BROKEN = (2.7, 3.0, float("nan"), "7", None)


@pytest.fixture(scope="module")
def world():
    """150 users who like most of 50 items."""
    simulator = SimulatorConfig(horizon=12, history_length=4, start_length=4, dislike_cost=0.5)
    simulator.user_model.family = "truth"
    demo = DemoConfig(users=150, items=ITEMS, base=3.0)
    return ialp_jax.simulator.make("demo", data=DataConfig(demo=demo), simulator=simulator)


def gym(world):
    env = SessionGym(*world)
    env.reset(seed=0)
    return env.step


def vector(world):
    env = SessionVectorEnv(*world, 3)
    env.reset(seed=0)
    return lambda action: env.step([0, action, 0])


def baselines(world):
    pytest.importorskip("stable_baselines3")
    from ialp_jax.simulator.adapters.stable_baselines import SessionVecEnv

    env = SessionVecEnv(*world, 3)
    env.reset()
    return lambda action: env.step([0, action, 0])


def jax_env(world, wrap=lambda env: env):
    env, params = wrap(world[0]), world[1]
    _, state = env.reset(jax.random.key(0), params)
    return lambda action: env.step(jax.random.key(1), state, action, params)


ADAPTERS = {
    "gymnasium": gym,
    "vector": vector,
    "stable-baselines3": baselines,
    "gymnax": jax_env,
    "flat": lambda world: jax_env(world, FlatSessions),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_refuses_what_is_no_action(world, adapter):
    step = ADAPTERS[adapter](world)
    for action in (0, ITEMS - 1):
        step(action)
    for action in (*OUTSIDE, *BROKEN):
        with pytest.raises(ValueError, match=r"^action") as error:
            step(action)
        said = str(error.value)
        assert said.endswith(HINT)
        assert "\n" not in said
        if action in OUTSIDE:
            assert said.startswith(f"action {action}")


def test_the_line_says_who_did_what(world):
    step = vector(world)
    with pytest.raises(ValueError, match=rf"^action 50 of user 1 is outside the space; {HINT.split(';')[0]}"):
        step(ITEMS)
    env = SessionVectorEnv(*world, 3)
    env.reset(seed=0)
    for wrong, shape in (([0, 0], r"\(2,\)"), (0, r"\(\)"), ([[0, 0, 0]], r"\(1, 3\)")):
        with pytest.raises(ValueError, match=rf"^actions of shape {shape}, not \(3,\)"):
            env.step(wrong)
    for adapter in (gym, vector):
        with pytest.raises(ValueError, match=r"^action 2\.5 is no whole number \(float64\); the actions"):
            adapter(world)(2.5)
    with pytest.raises(ValueError, match=r"^action (np\.)?True"):
        gym(world)(True)


def compiled(env, params):
    return jax.jit(lambda key, state, action: env.step_env(key, state, action, params))


@pytest.mark.parametrize("action", [ITEMS, 1_000_000, -5, -1])
def test_compiled_sessions_give_nothing_for_it(world, action):
    """Before, N and beyond were taken for the last item, which never counted as repeated."""
    env, params = world
    step = compiled(env, params)
    observation, state = env.reset(jax.random.key(3), params)
    for number in range(12):
        before = state
        observation, state, reward, _, info = step(jax.random.key(number), state, jnp.int32(action))
        assert (float(reward), bool(info["like"]), bool(info["out_of_range"])) == (0.0, False, True)
        assert float(state.patience) == float(before.patience - params.dislike_cost)
        np.testing.assert_array_equal(observation.shown, before.shown)
        np.testing.assert_array_equal(observation.history, before.history)
    assert bool(env.is_terminated(state, params))


def test_an_agent_that_sends_item_ids_earns_no_more_than_by_actions(world):
    """All of the last item's likes came from one more recommendation than there are items."""
    env, params = world
    step = compiled(env, params)
    _, state = env.reset(jax.random.key(3), params)
    likes = []
    for number, action in enumerate([ITEMS - 1, *[ITEMS] * 10]):
        _, state, reward, *_ = step(jax.random.key(number), state, jnp.int32(action))
        likes.append(float(reward))
    assert sum(likes[1:]) == 0


def test_actions_of_another_type_are_refused_when_jax_traces(world):
    env, params = world
    _, state = env.reset(jax.random.key(0), params)
    states = jax.tree.map(lambda leaf: leaf[None], state)
    for action in (jnp.array([2.7]), jnp.array([True])):
        with pytest.raises(ValueError, match=r"is no whole number; .* item a \+ 1 by action a"):
            jax.vmap(env.step, in_axes=(None, 0, 0, None))(jax.random.key(0), states, action, params)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**23))
def test_an_action_is_an_item_or_none(action, num_items):
    item, known = actions.to_item(jnp.int32(action), num_items)
    assert (int(item), bool(known)) == ((action + 1, True) if 0 <= action < num_items else (0, False))
    if known:
        assert int(actions.check(action, num_items)) == action
    else:
        with pytest.raises(ValueError, match=rf"^action {action} is outside"):
            actions.check(action, num_items)

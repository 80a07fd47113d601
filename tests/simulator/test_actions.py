"""For a wrong action, NumPy agents get an error, and compiled code recommends nothing."""

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
HINT = "actions are integers in 0..49; action a recommends item a + 1"
OUTSIDE = (ITEMS, 1_000_000, -5, -1, 2**40)
BROKEN = (2.7, 3.0, float("nan"), "7", None)


@pytest.fixture(scope="module")
def world():
    """A world of 150 users who like most of 50 items."""
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
def test_every_adapter_raises_for_invalid_actions(world, adapter):
    step = ADAPTERS[adapter](world)
    for action in (0, ITEMS - 1):
        step(action)
    for action in (*OUTSIDE, *BROKEN):
        with pytest.raises(ValueError, match=r"^action") as error:
            step(action)
        message = str(error.value)
        assert message.endswith(HINT)
        assert "\n" not in message
        if action in OUTSIDE:
            assert message.startswith(f"action {action}")


def test_error_names_the_user_and_the_action(world):
    step = vector(world)
    with pytest.raises(ValueError, match=rf"^action 50 of user 1 is out of range; {HINT.split(';')[0]}"):
        step(ITEMS)
    env = SessionVectorEnv(*world, 3)
    env.reset(seed=0)
    for wrong, shape in (([0, 0], r"\(2,\)"), (0, r"\(\)"), ([[0, 0, 0]], r"\(1, 3\)")):
        with pytest.raises(ValueError, match=rf"^actions have shape {shape}, expected \(3,\)"):
            env.step(wrong)
    for adapter in (gym, vector):
        with pytest.raises(ValueError, match=r"^action 2\.5 is not an integer \(float64\); actions"):
            adapter(world)(2.5)
    with pytest.raises(ValueError, match=r"^action (np\.)?True"):
        gym(world)(True)


def compiled(env, params):
    return jax.jit(lambda key, state, action: env.step_env(key, state, action, params))


@pytest.mark.parametrize("action", [ITEMS, 1_000_000, -5, -1])
def test_compiled_step_gives_no_reward_for_actions_out_of_range(world, action):
    """Guards against clipping: an action of N or more must not recommend the last item again and again."""
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


def test_item_id_as_action_earns_no_reward(world):
    env, params = world
    step = compiled(env, params)
    _, state = env.reset(jax.random.key(3), params)
    likes = []
    for number, action in enumerate([ITEMS - 1, *[ITEMS] * 10]):
        _, state, reward, *_ = step(jax.random.key(number), state, jnp.int32(action))
        likes.append(float(reward))
    assert sum(likes[1:]) == 0


def test_actions_of_another_type_raise_under_vmap(world):
    env, params = world
    _, state = env.reset(jax.random.key(0), params)
    states = jax.tree.map(lambda leaf: leaf[None], state)
    for action in (jnp.array([2.7]), jnp.array([True])):
        with pytest.raises(ValueError, match=r"is not an integer; .* action a recommends item a \+ 1"):
            jax.vmap(env.step, in_axes=(None, 0, 0, None))(jax.random.key(0), states, action, params)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**23))
def test_to_item_and_check_agree_on_the_range(action, num_items):
    item, in_range = actions.to_item(jnp.int32(action), num_items)
    assert (int(item), bool(in_range)) == ((action + 1, True) if 0 <= action < num_items else (0, False))
    if in_range:
        assert int(actions.check(action, num_items)) == action
    else:
        with pytest.raises(ValueError, match=rf"^action {action} is out of range"):
            actions.check(action, num_items)

"""`build` and `World.of` give each split its own users, and pass the settings on to the parameters."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.errors import InputError
from ialp_jax.simulator import dynamics, world
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.world import build
from ialp_jax.types import EVALUATION, OFFLINE, ONLINE, TUNING
from ialp_jax.users.predict import like_probability


@pytest.fixture(scope="module")
def dataset():
    return load(DataConfig(demo=DemoConfig(users=120, items=100)))


def test_each_split_has_exactly_its_users(dataset):
    world = build(dataset, dataset.truth, SimulatorConfig())
    parts = [
        set(np.asarray(world.of(split).users).tolist()) for split in (OFFLINE, ONLINE, TUNING, EVALUATION)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == dataset.num_users
    for split, users in enumerate(parts):
        assert users == set(np.flatnonzero(dataset.split == split).tolist())


def test_start_histories_are_likes_of_the_user_padded_on_the_left(dataset):
    config = SimulatorConfig(history_length=8, start_length=3)
    starts = np.asarray(build(dataset, dataset.truth, config).params.start_histories)
    assert starts.shape == (dataset.num_users, 8)
    assert not starts[:, :5].any()
    for user in range(dataset.num_users):
        likes = set(dataset.histories.of(user).tolist())
        assert set(starts[user][starts[user] > 0].tolist()) <= likes
        assert starts[user, -1] > 0


def test_settings_reach_the_parameters(dataset):
    config = SimulatorConfig(horizon=7, patience=3.0, dislike_cost=0.5, recovery=0.25)
    params = build(dataset, dataset.truth, config).params
    assert params.max_steps_in_episode == 7
    assert (float(params.patience), float(params.dislike_cost), float(params.recovery)) == (3.0, 0.5, 0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        {"history_length": 0},
        {"horizon": 0},
        {"start_length": 0},
        {"start_length": 11},
        {"patience": 0.0},
        {"dislike_cost": -1.0},
        {"recovery": -0.1},
    ],
)
def test_impossible_settings_raise_with_their_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SimulatorConfig(**wrong).check()


def test_small_worlds_have_a_table_of_the_probabilities_that_every_step_uses(dataset, monkeypatch):
    params = build(dataset, dataset.truth, SimulatorConfig()).params
    users, items = np.arange(dataset.num_users)[:, None], np.arange(1, dataset.catalogue.num_items + 1)[None]
    expected = like_probability(dataset.truth, users, items)
    np.testing.assert_allclose(params.like_table[:, 1:], expected, rtol=1e-5)
    assert not np.any(params.like_table[:, 0])
    state = SessionEnvironment().start(jnp.int32(5), params)[1]
    halved = params.replace(like_table=params.like_table / 2)
    assert float(dynamics.like_probability(state, jnp.int32(7), halved)) == params.like_table[5, 7] / 2
    monkeypatch.setattr(world, "MOST_PAIRS", params.like_table.size - 1)
    large = build(dataset, dataset.truth, SimulatorConfig()).params
    assert large.like_table is None
    np.testing.assert_allclose(
        dynamics.like_probability(state, jnp.int32(7), large), params.like_table[5, 7], rtol=1e-5
    )


def test_worlds_whose_users_change_have_no_table(dataset):
    config = SimulatorConfig(preset="hard")
    params = build(dataset, dataset.truth, config).params
    assert params.like_table is None
    params = params.replace(like_table=jnp.zeros((dataset.num_users, dataset.catalogue.num_items + 1)))
    state = SessionEnvironment().start(jnp.int32(5), params)[1]
    noise = float(params.dynamics.noise.false_like)
    assert float(dynamics.like_probability(state, jnp.int32(7), params)) > noise, "such users use no table"

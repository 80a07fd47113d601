"""Tests of ialp_jax.simulator.make and its cache."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import ialp_jax.simulator
from ialp_jax.data import DataConfig, DemoConfig
from ialp_jax.errors import InputError
from ialp_jax.simulator import make_world
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.types import EVALUATION
from ialp_jax.users.config import UserModelConfig

SMALL = DataConfig(demo=DemoConfig(users=60, items=80))
FITTED = SimulatorConfig(
    user_model=UserModelConfig(factors="4", regularisation="10", confidence="20", iterations=2, knots=5)
)


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_make_returns_a_working_environment():
    env, params = ialp_jax.simulator.make("demo", data=SMALL)
    _, state = env.reset(jax.random.key(0), params)
    *_, info = env.step(jax.random.key(1), state, 0, params)
    assert "final_observation" in info
    hard = ialp_jax.simulator.make("demo", preset="hard", data=SMALL)[1]
    assert hard.dynamics.satiation is not None


def test_split_restricts_the_users():
    dataset = make_world.load(SMALL)
    everyone = ialp_jax.simulator.make("demo", data=SMALL)[1]
    some = ialp_jax.simulator.make("demo", data=SMALL, split="evaluation")[1]
    assert len(everyone.users) == dataset.num_users
    np.testing.assert_array_equal(some.users, dataset.users(EVALUATION))


def test_cache_skips_the_fit_and_gives_the_same_world(tmp_path, monkeypatch):
    arguments = {"data": SMALL, "simulator": FITTED, "cache": tmp_path}
    first = ialp_jax.simulator.make("demo", **arguments)[1]
    same(first, ialp_jax.simulator.make("demo", data=SMALL, simulator=FITTED)[1])
    monkeypatch.setattr(make_world, "fit", None)  # any further fit would fail
    same(first, ialp_jax.simulator.make("demo", **arguments)[1])
    ialp_jax.simulator.make("demo", preset="hard", **arguments)
    with pytest.raises(TypeError):
        ialp_jax.simulator.make("demo", seed=1, **arguments)
    other = dataclasses.replace(FITTED.user_model, iterations=3)
    with pytest.raises(TypeError):
        ialp_jax.simulator.make("demo", **arguments | {"simulator": SimulatorConfig(user_model=other)})
    next(tmp_path.glob("*/user_model/manifest.json")).unlink()
    with pytest.raises(TypeError):
        ialp_jax.simulator.make("demo", **arguments)


def test_seed_changes_the_split_and_leaves_the_given_settings_unchanged():
    one, other = (ialp_jax.simulator.make("demo", seed=s, data=SMALL, split="online")[1] for s in (0, 1))
    assert set(np.asarray(one.users).tolist()) != set(np.asarray(other.users).tolist())
    ialp_jax.simulator.make("demo", preset="hard", seed=3, data=SMALL, simulator=FITTED)
    assert (FITTED.preset, FITTED.user_model.seed) == ("paper", 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "nowhere"}, "nowhere: unknown world"),
        ({"name": "demo", "preset": "x"}, "preset 'x'"),
        ({"name": "demo", "split": "test"}, "split 'test'"),
    ],
)
def test_unknown_names_raise(wrong, message):
    with pytest.raises(InputError, match=message):
        ialp_jax.simulator.make(**wrong)


def test_cache_path_may_contain_dots(tmp_path):
    for _ in range(2):
        ialp_jax.simulator.make("demo", data=SMALL, simulator=FITTED, cache=tmp_path / "no" / ".." / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]

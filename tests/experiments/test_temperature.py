"""Tests how a pre-training chooses the temperature of its policy, in worlds with a known best one."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, LENGTH, SMALL, quick_compilation, world  # noqa: F401

from experiments.config import Config
from experiments.run import Run
from experiments.stages import adapt_stage, pretrain_stage
from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.networks.heads import ActorCritic, Recommender, initial_params, tempered
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.params import save_params
from ialp_jax.types import TUNING

SEEDS = 2
HEAD = {"ialp": "actor", "sasrec": "ItemHead_0"}


def params_with(name, preferred):
    """Parameters [S, ...] of a policy that prefers some items by 2 nats, after any history."""
    network = (Recommender if name == "sasrec" else ActorCritic)(ITEMS, LENGTH, SMALL)
    params = initial_params(network, jax.random.key(0), jnp.zeros(LENGTH, jnp.int32))
    head = jax.tree.map(jnp.zeros_like, params["params"][HEAD[name]])
    bias = jnp.zeros(ITEMS).at[jnp.array(preferred) - 1].set(2.0)
    params = {"params": {**params["params"], HEAD[name]: {**head, "bias": bias}}}
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * SEEDS), params)


def choose(name, world_name, preferred, **settings):
    config = Config(num_seeds=SEEDS)
    config.network, config.simulator.history_length = SMALL, LENGTH
    for setting, value in settings.items():
        setattr(config.pretrain, setting, value)
    config.evaluation.greedy = True  # has no influence on the temperature
    catalogue = SimpleNamespace(num_items=ITEMS)
    splits = []

    def of(split):
        splits.append(split)
        return world(world_name)

    made_up = SimpleNamespace(env=ENV, of=of, dataset=SimpleNamespace(catalogue=catalogue))
    trainer = SimpleNamespace(params=params_with(name, preferred), mesh=None)
    run = Run(None, config)
    play = pretrain_stage.player(run, made_up, trainer, name)
    assert set(splits) <= {TUNING}
    return pretrain_stage.choose_temperature(run, trainer, play)


@pytest.mark.parametrize("name", ["ialp", "sasrec"])
def test_a_policy_that_is_right_acts_at_a_low_temperature(name):
    """All users like only item 7, and the policy prefers this item."""
    chosen, arrays = choose(name, "one_item", [7], temperatures="4,1,0.25")
    returns = arrays["temperature_return"]
    assert chosen == 0.25
    np.testing.assert_array_equal(arrays["temperatures"], [4, 1, 0.25])
    assert returns.shape == (SEEDS, 3)
    assert returns.dtype == np.float32
    probability = [np.exp(2 / t) / (np.exp(2 / t) + ITEMS - 2) for t in (4, 1, 0.25)]  # one item was shown
    np.testing.assert_allclose(returns, [probability] * SEEDS, atol=0.08)


def test_a_policy_that_is_wrong_acts_at_a_high_temperature():
    """All users like the items 3 to 9, and leave after two dislikes. The policy prefers other items."""
    chosen, arrays = choose("ialp", "patience", [10, 11, 12], temperatures="0.1,1,4")
    assert chosen == 4
    assert (np.diff(arrays["temperature_return"].mean(0)) > 0).all()


def test_of_equal_returns_the_highest_temperature_wins():
    chosen, arrays = choose("ialp", "coin", list(range(1, ITEMS + 1)), temperatures="0.5,2,1")
    assert len(set(arrays["temperature_return"].mean(0).tolist())) == 1  # the policy is always uniform
    assert chosen == 2


def test_a_single_temperature_is_used_without_playing(monkeypatch):
    monkeypatch.setattr(pretrain_stage, "player", lambda *args: None)
    chosen, arrays = choose("ialp", "coin", [1], temperatures="0.3")
    assert chosen == 0.3
    assert arrays["temperatures"].tolist() == [0.3]
    assert np.isnan(arrays["temperature_return"]).all()
    assert arrays["temperature_return"].shape == (SEEDS, 1)


def test_more_temperatures_need_no_new_compilation(monkeypatch):
    make, traced = pretrain_stage.ialp, []

    def counted(network):
        agent = make(network)

        def act(*args, **options):
            traced.append(1)
            return agent.act(*args, **options)

        return agent._replace(act=act)

    monkeypatch.setattr(pretrain_stage, "ialp", counted)
    choose("ialp", "coin", [1], temperatures="0.5,1", temperature_episodes=4)
    two = len(traced)
    choose("ialp", "coin", [1], temperatures="0.5,1,2,4,8,16", temperature_episodes=4)
    assert len(traced) == 2 * two > 0


@pytest.mark.parametrize("text", ["", "1,", "a", "0", "-1,1", "1,1.0", "inf", "nan,1", "1;2"])
def test_temperatures_must_be_different_positive_numbers(text):
    with pytest.raises(InputError, match=r"--config\.pretrain\.temperatures=.* must be "):
        PretrainConfig(temperatures=text).check()
    assert PretrainConfig(temperatures=" 2, 0.5").temperature_values() == [2.0, 0.5]


@pytest.mark.parametrize("temperature", ["x", 0, -1.0, None, True, [1]])
def test_a_manifest_with_another_temperature_is_refused(tmp_path, temperature):
    store.seal(tmp_path / "bad", {"temperature": temperature})
    with pytest.raises(InputError, match=r"bad/manifest\.json: its temperature is .*, not a positive number"):
        adapt_stage.temperature_in(tmp_path / "bad")
    store.seal(tmp_path / "own", {})
    assert adapt_stage.temperature_in(tmp_path / "own") == 1.0


@pytest.mark.parametrize(("name", "source"), [("a_ialp_ft", "ialp"), ("sasrec", "sasrec")])
def test_agents_get_tempered_parameters(tmp_path, name, source):
    config = Config(num_seeds=SEEDS)
    config.network, config.simulator.history_length = SMALL, LENGTH
    stored = params_with(source, [7])
    save_params(tmp_path / "pretrain" / source / "params", stored)
    store.seal(tmp_path / "pretrain" / source, {"temperature": 0.25})
    made_up = SimpleNamespace(dataset=SimpleNamespace(catalogue=SimpleNamespace(num_items=ITEMS)))
    loaded = adapt_stage.pretrained_params(Run(tmp_path, config), made_up, name)
    jax.tree.map(np.testing.assert_array_equal, loaded, tempered(stored, 0.25))
    bias = loaded["params"][HEAD[source]]["bias"]
    np.testing.assert_array_equal(bias[:, 6], 8.0)  # it prefers item 7 by 2 nats at temperature 1

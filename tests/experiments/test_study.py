"""The configuration of a study and its search spaces."""

from __future__ import annotations

import json

import pytest

from experiments.agents import AGENTS, space_of
from experiments.configs import paper
from experiments.study import configurations
from experiments.study.overrides import overridden, value_at
from experiments.study.settings import Study, check_updates
from ialp_jax.agents import registry
from ialp_jax.errors import InputError

REFERENCES = ("random", "popular", "oracle")
TUNED = [name for name in registry.ids() if space_of(name)]


def test_the_paper_config_has_the_expected_worlds_seeds_and_methods():
    study = paper.get_config()
    study.check()
    assert study.world_ids() == ["lfm", "industry", "coat", "lfm_not_offline"]
    assert (study.num_seeds, study.env_steps, study.evaluation.episodes) == (10, 200_000, 256)
    assert study.methods_of("coat") == registry.ids()
    assert set(study.methods_of("lfm_not_offline")) >= {"dqn", "pg", "a2c", "ialp", "a_ialp_ap"}
    for world in study.world_ids():
        config = study.run_config(world)
        assert config.simulator.preset == "paper"
        assert config.data.name == world.removesuffix("_not_offline")
        assert config.simulator.user_model.fit_users == ("not_offline" if "_not" in world else "all")
        assert (config.num_seeds, config.adapt.env_steps, config.evaluation.users) == (
            10,
            200_000,
            "evaluation",
        )


def test_every_setting_reaches_the_runs():
    study = Study(
        worlds="smoke", data_root="/d", seed=3, num_seeds=2, env_steps=5000, overrides="network.width=8"
    )
    study.evaluation.episodes = 7
    config = study.run_config("smoke")
    settings = (config.data.root, config.seed, config.num_seeds, config.adapt.env_steps, config.network.width)
    assert settings == ("/d", 3, 2, 5000, 8)
    assert config.evaluation.episodes == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worlds": "lfm,moon"}, "unknown 'moon'"),
        ({"worlds": ""}, "name at least one"),
        ({"worlds": "paper"}, "unknown 'paper'"),
        ({"methods": "a2c,sac"}, "unknown 'sac'"),
        ({"not_offline": "mars"}, "unknown 'mars'"),
        ({"num_seeds": 0}, "num_seeds"),
        ({"env_steps": 1500}, "1000"),
        ({"overrides": "agents.a2c.rollout_length=60"}, "must divide 1000"),
        ({"overrides": "agents.a2c.trase=1"}, "no such setting"),
        ({"seed": 1000}, "search.seed"),
        (
            {"worlds": "smoke", "not_offline": "smoke"},
            "fit_users",
        ),  # the demo world has the true user model, so it fits none
    ],
)
def test_a_mistake_is_one_line(change, message):
    with pytest.raises(InputError, match=r"^--config\.") as error:
        Study(**{"worlds": "smoke"} | change).check()
    assert message in str(error.value)


def test_every_agent_updates_at_least_once_in_1000_env_steps():
    config = Study(worlds="smoke").run_config("smoke")
    check_updates(config)
    config.agents.pg.num_users = 64
    with pytest.raises(InputError, match="1280 must divide 1000"):
        check_updates(config)


def test_tuned_values_are_read_from_the_file(tmp_path):
    study = Study(worlds="lfm", not_offline="lfm")
    assert study.tuned_values("lfm", tmp_path) == {}
    values = {"a2c": {"agents.a2c.learning_rate": 0.5}, "dqn": {"agents.dqn.gradient_steps": 7}}
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "lfm.json").write_text(json.dumps(values))
    for world in study.world_ids():  # both runs of a world use the same tuned values
        config = study.tuned_config(world, tmp_path)
        assert (config.agents.a2c.learning_rate, config.agents.dqn.gradient_steps) == (0.5, 7)
    for text in ("{", "[]", '{"a2c": 1}', '{"a2c": {"agents.a2c.nothing": 1}}'):
        (tmp_path / "tuned" / "lfm.json").write_text(text)
        with pytest.raises(InputError, match=r"lfm\.json"):
            study.tuned_config("lfm", tmp_path)


def test_every_method_that_learns_has_a_separate_search_space():
    assert set(TUNED) == set(registry.ids()) - set(REFERENCES)
    paths = [path for name in AGENTS for path in space_of(name)]
    assert len(paths) == len(set(paths))
    assert {"agents.a_ialp_ap.alpha_steps", "agents.a_ialp_ap.start"} <= space_of("a_ialp_ap").keys()


@pytest.mark.parametrize("method", TUNED)
def test_a_search_space_has_valid_values_and_no_settings_of_the_world(method):
    config = Study(worlds="smoke").run_config("smoke")
    for path, values in space_of(method).items():
        assert path.startswith(("agents.", "pretrain."))
        assert not path.startswith("agents.ialp.")  # labels depend on it
        assert len(set(values)) == len(values) > 1
        for value in values:
            overridden(config, {path: value}, "spaces").check()
        default = value_at(config, path)
        assert type(default) is type(values[0])
        assert not isinstance(default, str) or default in values
    for drawn in configurations.draw(space_of(method), config, 12, seed=0):
        check_updates(overridden(config, drawn, "spaces"))

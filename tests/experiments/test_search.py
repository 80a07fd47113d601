"""Tests successive halving on made-up scores: configurations, winner, log and repeated searches."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.agents import AGENTS, space_of
from experiments.config import Config
from experiments.run import Run, settings
from experiments.stages import adapt_stage, pretrain_stage
from experiments.stages.common import Worlds
from experiments.study import configurations, search
from experiments.study.overrides import overridden
from experiments.study.settings import Study
from experiments.study.study_results import pair_key
from experiments.study.study_tuning import counts_given
from experiments.study.trial_log import LOG_COLUMNS, TrialLog, read_given
from ialp_jax.agents import registry
from ialp_jax.errors import InputError, NotFiniteError

ROOT = Path(__file__).resolve().parents[2]


def small_study(**changes):
    study = Study(worlds="smoke", methods="a2c", num_seeds=3, env_steps=4000, **changes)
    study.search.configurations, study.search.env_steps, study.search.extensions = 4, 2000, 0
    return study


def test_drawn_configurations_differ_cover_the_space_and_begin_with_the_default():
    config = Study(worlds="smoke").run_config("smoke")
    drawn = configurations.draw(space_of("a2c"), config, 8, seed=5)
    assert drawn[0] == {
        "agents.a2c.learning_rate": 3e-3,
        "agents.a2c.entropy_cost": 1e-3,
        "agents.a2c.discount": 0.9,
        "agents.a2c.trace": 0.9,
        "agents.a2c.normalise_advantages": False,
        "agents.a2c.num_users": 20,
        "agents.a2c.rollout_length": 5,
    }
    assert len({tuple(values.values()) for values in drawn}) == 8
    assert drawn == configurations.draw(space_of("a2c"), config, 8, seed=5)
    assert drawn != configurations.draw(space_of("a2c"), config, 8, seed=6)
    assert drawn[:5] == configurations.draw(space_of("a2c"), config, 5, seed=5)
    many = configurations.draw(space_of("a2c"), config, 40, seed=5)
    for path, values in space_of("a2c").items():
        assert {configuration[path] for configuration in many} == set(values)
    for values in many:  # only batches that divide 1,000 env steps are drawn
        assert 1000 % (values["agents.a2c.num_users"] * values["agents.a2c.rollout_length"]) == 0


def test_methods_that_share_settings_try_the_same_combinations_of_them():
    config = Study(worlds="smoke").run_config("smoke")
    of_warm, of_ft = (
        configurations.draw(space_of(name), config, 30, seed=5) for name in ("a2c_warm", "a_ialp_ft")
    )
    shared = [path.rpartition(".")[2] for path in space_of("a_ialp_ft")]
    for warm, ft in zip(of_warm[1:], of_ft[1:], strict=True):
        assert [warm[f"agents.a2c_warm.{name}"] for name in shared] == list(ft.values())
    rates = [values["agents.a_ialp_ft.learning_rate"] for values in of_ft[1:25]]
    assert set(Counter(rates).values()) == {4}  # each of six values equally often


FT = {"discount": 0.5, "learning_rate": 3e-4, "entropy_cost": 1e-2, "critic_start": "pretrained"}
FT = {f"agents.a_ialp_ft.{name}": value for name, value in FT.items()}


@pytest.mark.parametrize("name", ["a_ialp_ap", "a_ialp_gate", "a2c_kl", "jsrl"])
def test_a_method_tries_the_best_values_of_the_method_that_it_extends(name):
    config = Study(worlds="smoke").run_config("smoke")
    simpler = configurations.simpler_values(name, {"a_ialp_ft": FT, "a2c": {"agents.a2c.discount": 0.1}})
    assert simpler == {path.replace("a_ialp_ft", name): value for path, value in FT.items()}
    drawn = configurations.draw(space_of(name), config, 8, seed=5, simpler=simpler)
    default, second = drawn[:2]
    assert second == default | simpler
    assert len(drawn) == len(configurations.draw(space_of(name), config, 8, seed=5)) == 8
    assert drawn[2:] == configurations.draw(space_of(name), config, 7, seed=5)[1:]


def test_without_tuned_values_or_without_a_simpler_method_there_is_no_second_configuration():
    config = Study(worlds="smoke").run_config("smoke")
    assert configurations.simpler_values("a_ialp_ap", {"a2c": {}}) is None
    assert configurations.simpler_values("dqn", {"a2c": {}}) is None
    default = configurations.draw(space_of("a2c"), config, 1, seed=5)[0]
    again = configurations.draw(space_of("a2c"), config, 3, seed=5, simpler=default)  # equal to the default
    assert again == configurations.draw(space_of("a2c"), config, 3, seed=5)


def test_every_method_is_tuned_after_its_pretraining_and_after_the_method_that_it_extends():
    methods = [name for name in AGENTS if space_of(name)]
    for start in (methods, methods[::-1]):
        order = search.in_order(start, Config())
        assert sorted(order) == sorted(methods)
        for name in methods:
            for before in {AGENTS[name].extends, registry.starts_from(name, {})} - {"", name}:
                assert order.index(before) < order.index(name)


def test_the_best_values_of_ft_can_be_drawn_for_every_variant():
    for name in ("a_ialp_ft", "a_ialp_ap", "a_ialp_gate", "a2c_kl", "jsrl"):
        for setting, value in (("discount", 0.5), ("learning_rate", 3e-4), ("entropy_cost", 1e-2)):
            assert value in space_of(name)[f"agents.{name}.{setting}"]


@pytest.mark.parametrize("world", ["lfm", "industry", "coat"])
def test_best_values_of_the_committed_search_lie_inside_the_spaces(world):
    """A best value at the end of its list would mean that a better value may lie beyond."""
    tuned = json.loads((ROOT / f"experiments/configs/tuned/{world}.json").read_text())
    for method, values in tuned.items():
        for path, value in values.items():
            options = space_of(method)[path]
            numbers = [option for option in options if type(option) in (int, float)]
            if len(numbers) > 2 and value in numbers and not path.endswith(FREE):
                assert min(numbers) < value < max(numbers), path


# Ends with a reason: 0 steps mean the whole adaptation, a guide_start of 1 is the whole session, and a faster
# slow_rate was worse (experiments/results/README.md).
FREE = ("_steps", "guide_start", "slow_rate")


def test_all_configurations_ever_given_stay_on_record(tried, tmp_path, monkeypatch):
    run_search(small_study(), tmp_path)
    log = tmp_path / "results" / "tuning" / "smoke.csv"
    assert (len(read_given(log)), len(pd.read_csv(log))) == (4, 12)
    narrow = dataclasses.replace(AGENTS["a2c"], space={"learning_rate": (0.5, 0.25)})
    monkeypatch.setitem(AGENTS, "a2c", narrow)
    run_search(small_study(), tmp_path)
    trials = pd.read_csv(log)
    assert trials[trials["round"] == 1].key.nunique() == 3  # the default and two new ones
    given = read_given(log)
    assert len(given) == 4 + 2
    run_search(small_study(), tmp_path, overwrite=True)
    pd.testing.assert_frame_equal(read_given(log), given)  # the same trials again are not new
    assert counts_given(tmp_path / "results", "smoke") == {"a2c": 6}


def test_configurations_of_a_log_without_a_record_count_too(tmp_path):
    path = tmp_path / "tuning" / "w.csv"
    rows = [
        dict.fromkeys(LOG_COLUMNS, 1) | {"method": "dqn", "key": f"k{n}", "values": "{}"} for n in (1, 1, 2)
    ]
    rows.append(rows[0] | {"key": "long", "round": 2})  # the second round has the same configurations
    path.parent.mkdir()
    pd.DataFrame(rows).to_csv(path, index=False)
    assert counts_given(tmp_path, "w") == {"dqn": 2}
    TrialLog(path).forget(["dqn"])
    assert counts_given(tmp_path, "w") == {"dqn": 2}
    assert counts_given(tmp_path, "elsewhere") == {}


def test_invalid_combinations_are_not_drawn():
    config = Study(worlds="smoke").run_config("smoke")
    config.agents.jsrl.critic_start = "pretrained"
    space = {"agents.jsrl.start": ("pretrained", "random"), "agents.jsrl.discount": (0.5, 0.9)}
    drawn = configurations.draw(space, config, 8, seed=0)
    assert sorted(values["agents.jsrl.discount"] for values in drawn) == [0.5, 0.9]
    assert {values["agents.jsrl.start"] for values in drawn} == {"pretrained"}


def test_all_configurations_of_a_small_space_are_tried_and_the_default_too():
    config = Study(worlds="smoke").run_config("smoke")
    space = {"num_seeds": (5, 6), "seed": (0, 1)}
    drawn = {tuple(values.values()) for values in configurations.draw(space, config, 9, seed=0)}
    assert drawn == {(config.num_seeds, config.seed), *itertools.product((5, 6), (0, 1))}


def test_the_score_follows_its_formula():
    columns = search.scores(np.array([0, 1000, 4000]), np.array([[1.0, 3.0, 5.0]]))
    area = (1000 * 2 + 3000 * 4) / 4000
    assert columns["auc_return"] == [area]
    assert columns["score"] == [(area + 5) / 2]
    assert (columns["initial_return"], columns["final_return"]) == ([1], [5])


@pytest.fixture
def tried(monkeypatch):
    """Replaces trials by made-up scores: low learning rates win round 1, high learning rates round 2."""
    calls = []

    def measured(run, method, worlds, env_steps, key, numbers):
        assert numbers["agents.a2c.learning_rate"] == run.config.agents.a2c.learning_rate
        rate = run.config.agents.a2c.learning_rate
        calls.append((rate, env_steps, run.config))
        score = -rate if env_steps == 2000 else rate
        return [{"score": score + seed / 1e6, "seed": seed, "seconds": 1.0} for seed in range(2)]

    monkeypatch.setattr(search, "measured", measured)
    return calls


def run_search(study, folder, overwrite=False):
    run = Run(folder / "smoke", study.run_config("smoke"))
    search.search(study, "smoke", run, folder, overwrite, lambda: Worlds(None, None))
    return json.loads((folder / "tuned" / "smoke.json").read_text())


def test_the_best_finalist_wins_and_no_trial_runs_twice(tried, tmp_path):
    study = small_study()
    chosen = run_search(study, tmp_path)["a2c"]
    first = [rate for rate, steps, _ in tried if steps == 2000]
    last = [rate for rate, steps, _ in tried if steps == 4000]
    assert (len(first), len(last)) == (4, 2)
    assert sorted(last) == sorted(first)[:2]
    assert chosen["agents.a2c.learning_rate"] == max(last)
    for _, _, config in tried:
        assert (config.seed, config.num_seeds, config.evaluation.users) == (1000, 2, "tuning")
        assert config.evaluation.episodes == config.evaluation.at_ends == study.search.episodes
        assert config.adapt.env_steps == 4000  # schedules keep the study's length
    log = pd.read_csv(tmp_path / "results" / "tuning" / "smoke.csv")
    assert list(log.columns) == LOG_COLUMNS
    assert len(log) == 2 * (4 + 2)
    assert run_search(study, tmp_path)["a2c"] == chosen
    assert len(tried) == 6
    run_search(study, tmp_path, overwrite=True)
    assert len(tried) == 12


@pytest.mark.parametrize(
    ("choices", "value", "expected"),
    [
        ((0.001, 0.003, 0.01, 0.03), 0.03, 0.09),
        ((0.001, 0.003, 0.01, 0.03), 0.001, 0.000333),
        ((0.001, 0.003, 0.01, 0.03), 0.09, 0.27),  # a value of an earlier extension
        ((0.001, 0.003, 0.01, 0.03), 0.01, None),
        ((75, 150, 300, 600), 600, 1200),
        ((75, 150, 300, 600), 75, 38),
        ((0.0, 1e-4, 1e-3, 1e-2), 0.0, None),  # nothing lies beyond 0
        ((10, 20, 50), 50, None),
        (("linear", "cosine", "evidence", "constant"), "constant", None),
        ((False, True, False, True), True, None),
    ],
)
def test_lists_of_numbers_continue_beyond_their_ends(choices, value, expected):
    assert configurations.beyond(choices, value) == expected


def test_the_search_goes_on_beyond_the_end_of_a_list_while_the_score_rises(tried, tmp_path, monkeypatch):
    """The score rises with the rate in the second round, so only the limit on extensions stops the search."""
    space = {"learning_rate": (0.001, 0.002, 0.004, 0.008)}
    monkeypatch.setitem(AGENTS, "a2c", dataclasses.replace(AGENTS["a2c"], space=space))
    study = small_study()
    study.search.extensions, study.search.configurations, study.search.finalists = 3, 5, 5
    assert run_search(study, tmp_path)["a2c"] == {"agents.a2c.learning_rate": 0.064}
    assert [(rate, steps) for rate, steps, _ in tried[10:]] == [(0.016, 4000), (0.032, 4000), (0.064, 4000)]
    assert counts_given(tmp_path / "results", "smoke") == {"a2c": 8}
    assert run_search(study, tmp_path)["a2c"] == {"agents.a2c.learning_rate": 0.064}
    assert len(tried) == 13  # no trial runs twice


def test_an_extension_that_does_not_raise_the_score_is_not_chosen(tried, tmp_path, monkeypatch):
    space = {"learning_rate": (0.001, 0.002, 0.004, 0.008)}
    monkeypatch.setitem(AGENTS, "a2c", dataclasses.replace(AGENTS["a2c"], space=space))
    study = small_study()
    study.search.extensions, study.search.configurations, study.search.finalists = 3, 5, 5
    measured = search.measured

    def falling(run, *args):
        rows = measured(run, *args)
        too_high = run.config.agents.a2c.learning_rate > 0.016
        return [row | {"score": math.nan} for row in rows] if too_high else rows

    monkeypatch.setattr(search, "measured", falling)
    assert run_search(study, tmp_path)["a2c"] == {"agents.a2c.learning_rate": 0.016}


def test_finalists_run_for_final_env_steps(tried, tmp_path):
    study = small_study()
    study.search.final_env_steps = 3000
    run_search(study, tmp_path)
    assert sorted(steps for _, steps, _ in tried) == [2000] * 4 + [3000] * 2
    study.search.final_env_steps = 1500
    with pytest.raises(InputError, match=r"search\.final_env_steps=1500 must be a multiple"):
        study.check()


def test_a_killed_search_continues_after_the_last_finished_trial(tried, tmp_path, monkeypatch):
    whole = run_search(small_study(), tmp_path / "whole")
    tried.clear()
    measured = search.measured

    def killed(*args):
        if len(tried) == 3:
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr(search, "measured", killed)
    with pytest.raises(KeyboardInterrupt):
        run_search(small_study(), tmp_path / "cut")
    monkeypatch.setattr(search, "measured", measured)
    assert run_search(small_study(), tmp_path / "cut") == whole
    assert len(tried) == 6
    logs = [pd.read_csv(tmp_path / name / "results" / "tuning" / "smoke.csv") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*logs)


def test_trials_are_repeated_when_their_settings_change(tried, tmp_path):
    run_search(small_study(), tmp_path)
    run_search(small_study(overrides="agents.a2c.value_cost=0.4"), tmp_path)
    assert len(tried) == 12
    run_search(small_study(overrides="agents.a2c.value_cost=0.4;agents.dqn.batch_size=5"), tmp_path)
    assert len(tried) == 12  # a2c does not depend on the settings of dqn


def test_the_log_keeps_only_trials_of_the_present_search_space(tried, tmp_path, monkeypatch):
    log = tmp_path / "results" / "tuning" / "smoke.csv"
    run_search(small_study(), tmp_path)
    other = pd.read_csv(log).assign(method="dqn")
    pd.concat([pd.read_csv(log), other]).to_csv(log, index=False)
    rates = (0.5, 0.25)
    narrow = dataclasses.replace(AGENTS["a2c"], space={"learning_rate": rates})
    monkeypatch.setitem(AGENTS, "a2c", narrow)
    run_search(small_study(), tmp_path)
    trials = pd.read_csv(log)
    texts = trials[trials.method == "a2c"]["values"]
    values = {json.loads(text)["agents.a2c.learning_rate"] for text in texts}
    assert values == {*rates, small_study().run_config("smoke").agents.a2c.learning_rate}
    assert (trials.method == "dqn").sum() == len(other)


def test_the_second_round_is_not_run_if_it_equals_the_first(tried, tmp_path):
    study = small_study()
    study.search.env_steps = 50_000
    run_search(study, tmp_path)
    assert len(tried) == 4
    log = pd.read_csv(tmp_path / "results" / "tuning" / "smoke.csv")
    assert (log.env_steps == 4000).all()
    assert log["round"].value_counts().to_dict() == {1: 8, 2: 4}


@pytest.fixture
def fake_adapt(monkeypatch):
    """Replaces adaptation by a function of the learning rate and the env steps."""

    def replace(adapt):
        monkeypatch.setattr(search, "agent_of", lambda run, *args: run.config.agents.a2c.learning_rate)
        monkeypatch.setattr(search, "online_task", lambda run, worlds, adapt_config: adapt_config.env_steps)
        monkeypatch.setattr(search, "adapt", lambda env_steps, rate, *args: adapt(rate, env_steps))

    return replace


def test_a_configuration_that_does_not_stay_finite_loses(fake_adapt, tmp_path):
    def adapt(rate, env_steps):
        if rate > 2e-3:
            raise NotFiniteError("a2c: loss is nan in env steps 1 to 1000")
        return {"env_steps": np.array([0, env_steps]), "return": np.tile(np.arange(2.0) + 1, (2, 1))}

    fake_adapt(adapt)
    chosen = run_search(small_study(), tmp_path)["a2c"]
    assert chosen["agents.a2c.learning_rate"] < 2e-3
    log = pd.read_csv(tmp_path / "results" / "tuning" / "smoke.csv")
    assert log.score.isna().any()
    assert search._best([math.nan, 1.0, 2.0, 2.0]) == [2, 3, 1, 0]


def test_a_search_without_a_finite_trial_is_an_error(fake_adapt, tmp_path):
    def adapt(rate, env_steps):
        raise NotFiniteError("a2c: loss is nan in env steps 1 to 1000")

    fake_adapt(adapt)
    with pytest.raises(InputError, match="no configuration stays finite"):
        run_search(small_study(), tmp_path)


def test_a_file_that_is_not_a_log_is_named(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"log\.csv"):
        TrialLog(tmp_path / "log.csv")


def starting_study(folder, **changes):
    """A study with tuned values of the pre-trainings."""
    study = Study(worlds="smoke", methods="a_ialp_ft", **changes)
    (folder / "tuned").mkdir(exist_ok=True)
    tuned = {
        "ialp": {"pretrain.ialp_updates": 5},
        "ialp_soft": {"pretrain.soft_updates": 6, "agents.ialp_soft.label_temperature": 0.5},
        "a2c_warm": {"pretrain.warm_updates": 7, "agents.a2c_warm.entropy_cost": 0.01},
    }
    (folder / "tuned" / "smoke.json").write_text(json.dumps(tuned))
    return study


def test_trials_start_from_the_tuned_version_of_whichever_pretraining_they_use(tmp_path):
    study = starting_study(tmp_path)
    config = search.tuning_config(study, "smoke", "a_ialp_ft", tmp_path)
    settings_of_both = config.pretrain, config.agents.ialp_soft
    assert (settings_of_both[0].ialp_updates, settings_of_both[0].soft_updates) == (5, 6)
    assert settings_of_both[1].label_temperature == 0.5
    own = search.tuning_config(study, "smoke", "ialp_soft", tmp_path)
    assert own.pretrain.soft_updates == study.run_config("smoke").pretrain.soft_updates


def test_a_trial_depends_only_on_the_pretraining_from_which_its_method_starts():
    def key(method, **values):
        config = Study(worlds="smoke").run_config("smoke")
        return pair_key(settings(overridden(config, values, "test")), method)

    soft, other_soft = {"pretrain.soft_updates": 9}, {"agents.ialp_soft.label_temperature": 3.0}
    from_soft = {"agents.a_ialp_ft.start_from": "ialp_soft"}
    for change in (soft, other_soft):
        assert key("ialp_soft", **change) != key("ialp_soft")
        assert key("a_ialp_ft", **change) == key("a_ialp_ft")
        assert key("a_ialp_ft", **from_soft, **change) != key("a_ialp_ft", **from_soft)
        for method in ("ialp", "sasrec", "a2c_warm", "a2c"):
            assert key(method, **change) == key(method)
    assert key("a_ialp_ft", **from_soft) != key("a_ialp_ft")
    for path, value in (("pretrain.temperatures", "1"), ("pretrain.batch_size", 7), ("network.width", 8)):
        for method in ("ialp", "ialp_soft", "sasrec", "a2c_warm", "a_ialp_ft"):
            assert key(method, **{path: value}) != key(method)
    assert key("a2c", **{"pretrain.temperatures": "1"}) == key("a2c")
    for method in ("ialp", "ialp_soft", "rlpd"):
        assert key(method, **{"labelling.rounds": 9}) != key(method)
        assert key(method, **{"pretrain.updates_per_round": 9}) != key(method)  # other labels
    assert key("sasrec", **{"labelling.rounds": 9}) == key("sasrec")


def test_the_temperature_of_a_tuning_pretraining_is_stored_and_used(tmp_path, monkeypatch):
    made = []

    def pretrained(run, world, name, hooks):
        made.append(name)
        return pretrain_stage.Pretrained({"x": np.ones(2)}, 0.25, {})

    monkeypatch.setattr(search, "pretrained", pretrained)
    monkeypatch.setattr(search.recipes, "fingerprint", lambda run, part: f"{part:x<20}".replace("/", ""))
    monkeypatch.setattr(
        search, "pretrained_params", lambda run, world, name, folder: adapt_stage.temperature_in(folder)
    )
    config = Study(worlds="smoke").run_config("smoke")
    config.checkpoint.every, config.agents.a_ialp_ft.start_from = 0, "ialp_soft"
    run = Run(tmp_path, config)
    for method in ("a_ialp_ft", "a_ialp_ft", "ialp"):
        assert search.tuning_params(run, None, method) == 0.25
    assert made == ["ialp_soft", "ialp"]
    assert search.tuning_params(run, None, "a2c") is None

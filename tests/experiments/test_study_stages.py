"""Kills, resumes, tunes and changes a whole study on a tiny world."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from diagnostic_worlds import quick_compilation  # noqa: F401, an autouse fixture

from experiments.agents import AGENTS
from experiments.run import Run
from experiments.runtime.lock import LOCK, locked
from experiments.stages import adapt_stage
from experiments.study import search, study_results, study_stages
from experiments.study.settings import Study
from experiments.study.trial_log import LOG_COLUMNS
from ialp_jax import store
from ialp_jax.claim import RESULTS
from ialp_jax.data.files import load_dataset
from ialp_jax.errors import InputError
from ialp_jax.evaluation import statistics
from ialp_jax.types import EVALUATION, TUNING

pytestmark = pytest.mark.slow
METHODS = ("random", "oracle", "a2c", "ialp", "a_ialp_ft")
TINY = {
    "data.demo.users": 80,
    "data.demo.items": 60,
    "labelling.sessions": 8,
    "labelling.steps": 2,
    "llm.embedded.steps": 3,
    "llm.threads": 1,
    "pretrain.updates_per_round": 3,
    "pretrain.warm_updates": 3,
    "pretrain.sasrec_updates": 3,
    "agents.a2c.num_users": 100,
    "agents.a_ialp_ft.num_users": 100,
    "simulator.user_model.family": "implicit_mf",
    "simulator.user_model.factors": "4",
    "simulator.user_model.regularisation": "10",
    "simulator.user_model.confidence": "20",
}


def tiny(**changes) -> Study:
    overrides = ";".join(f"{path}={value}" for path, value in TINY.items())
    study = Study(worlds="smoke", methods=",".join(METHODS), num_seeds=2, env_steps=1000, overrides=overrides)
    study.evaluation.episodes, study.evaluation.ends, study.evaluation.points = 8, 12, 2
    study.search.configurations, study.search.finalists = 2, 1
    study.search.env_steps, study.search.points, study.search.num_seeds = 1000, 2, 1
    for name, value in changes.items():
        setattr(study, name, value)
    study.check()
    return study


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study. It was killed during its third method, and again before it stored the results."""
    folder = tmp_path_factory.mktemp("study") / "tiny"
    adapted, collect = adapt_stage.adapted, study_results.collect

    def killed(task, agent, pretrained, name, hooks):
        if name == "a2c":
            raise KeyboardInterrupt
        return adapted(task, agent, pretrained, name, hooks)

    def not_collected(study, folder, run, agent, tuned):
        if agent == "a2c":
            raise KeyboardInterrupt
        collect(study, folder, run, agent, tuned)

    for module, name, broken in ((adapt_stage, "adapted", killed), (study_results, "collect", not_collected)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, broken)
            with pytest.raises(KeyboardInterrupt):
                study_stages.run_study(tiny(), folder, "all", overwrite=False)
        assert set(study_results.read_results(folder / "results").pairs["smoke"]) == {"random", "oracle"}
    study_stages.run_study(tiny(), folder, "all", overwrite=False)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def written(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != LOCK)
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in files}


def changed(folder, before):
    after = written(folder)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_the_results_contain_every_pair_with_the_curves_of_its_run(finished):
    results = study_results.read_results(finished / "results")
    assert list(results.pairs["smoke"]) == list(METHODS)
    for agent in METHODS:
        arrays, _ = store.load(finished / "smoke" / "adapt" / agent)
        pair = results.pairs["smoke"][agent]
        np.testing.assert_array_equal(pair.env_steps, arrays["env_steps"])
        for name in ("return", "gini", "category_entropy", "return/niche"):
            np.testing.assert_allclose(pair.curves[name], arrays[name], rtol=1e-5)
    config = results.config
    assert config["study"]["num_seeds"] == 2
    assert config["worlds"]["smoke"]["data"]["demo"]["users"] == 80
    record = config["pairs"]["smoke"]["a2c"]
    assert record["tuned"] is None
    assert record["seconds"] > 0
    assert record["environment"]["versions"]["jax"] == jax.__version__
    assert set(pd.read_csv(finished / "results" / "verdicts.csv").world) == {"smoke"}


def test_a_finished_study_repeats_only_the_report(copy):
    before = written(copy)
    study_stages.run_study(tiny(), copy, "all", overwrite=False)
    report_files = {"results/summary.csv", "results/across.csv", "results/verdicts.csv", "results/table.md"}
    report_files |= {
        "results/verdicts.md",
        "results/tuned.md",
        "results/smoke.svg",
        "results/across.svg",
        "smoke/config.json",
    }
    assert changed(copy, before) <= report_files


def test_committed_results_are_not_made_again(copy, monkeypatch):
    """A clone has the results, but no run folder. Only pairs without results run."""
    shutil.rmtree(copy / "smoke")
    before = {path.name: path.read_bytes() for path in (copy / "results").iterdir()}
    ran = []
    monkeypatch.setattr(study_stages, "run_stages", lambda run, stages: ran.append(stages))
    monkeypatch.setattr(study_stages, "adapt_agent", lambda run, name, worlds: ran.append(name))
    study_stages.run_study(tiny(), copy, "all", overwrite=False)
    assert not ran
    assert {path.name: path.read_bytes() for path in (copy / "results").iterdir()} == before
    monkeypatch.setattr(study_results, "collect", lambda *rest: None)
    study_stages.run_study(tiny(methods="random,popular"), copy, "all", overwrite=False)
    assert ran == [("data", "simulate"), "popular"]


def test_results_record_the_fingerprint_of_their_labels(finished):
    pairs = study_results.read_config(finished / "results")["pairs"]["smoke"]
    fingerprint = store.read_manifest(finished / "smoke" / "labels")["files"]["arrays.npz"]
    assert {name: record.get("labels") for name, record in pairs.items()} == {
        name: fingerprint if name in ("ialp", "a_ialp_ft") else None for name in METHODS
    }


def test_one_process_at_a_time_collects_results(copy, monkeypatch):
    collected = []
    for name in ("config.json", "curves.csv"):
        (copy / "results" / name).unlink()

    def collect(study, folder, run, agent, tuned):
        with pytest.raises(InputError, match="is in use by process"):
            locked(study.results_folder(folder), RESULTS).__enter__()
        collected.append(agent)

    monkeypatch.setattr(study_results, "collect", collect)
    study_stages.run_study(tiny(), copy, "adapt", overwrite=False)
    assert collected == list(METHODS)


def test_the_report_needs_no_run_folder_and_repeats_bit_for_bit(copy):
    shutil.rmtree(copy / "smoke")
    before = {path.name: path.read_bytes() for path in (copy / "results").iterdir()}
    study_stages.run_study(tiny(), copy, "report", overwrite=False)
    assert {path.name: path.read_bytes() for path in (copy / "results").iterdir()} == before


def test_other_settings_are_refused_before_any_work(copy):
    before = written(copy)
    with pytest.raises(InputError, match="num_seeds: 2 -> 3"):
        study_stages.run_study(tiny(num_seeds=3), copy, "all", overwrite=False)
    assert not changed(copy, before)
    # Other worlds, methods or search settings do not make it another study.
    study_results.guard(tiny(methods="a2c"), copy, overwrite=False)
    study_results.guard(tiny(num_seeds=3), copy, overwrite=True)
    assert study_results.read_config(copy / "results") is None


def test_new_tuned_values_redo_only_the_agents_that_they_change(copy):
    (copy / "tuned").mkdir()
    (copy / "tuned" / "smoke.json").write_text(json.dumps({"a2c": {"agents.a2c.learning_rate": 0.5}}))
    before = written(copy)
    study_stages.run_study(tiny(), copy, "adapt", overwrite=False)
    redone = {name for name in changed(copy, before) if name.startswith("smoke/adapt/")}
    assert {name.split("/")[2] for name in redone} == {"a2c"}
    assert "smoke/adapt/a2c/arrays.npz" in redone
    pairs = study_results.read_config(copy / "results")["pairs"]["smoke"]
    assert pairs["a2c"]["tuned"] == {"agents.a2c.learning_rate": 0.5}
    assert pairs.keys() == set(METHODS)


def test_pairs_with_other_settings_are_dropped(copy):
    """If settings of a world change, `collect` drops the results of all pairs that depend on them."""
    tree = tiny().run_config("smoke")
    tree.agents.a_ialp_ft.learning_rate = 0.5
    run = Run(copy / "smoke", tree)
    study_results.collect(tiny(), copy, run, "random", {})
    remaining = study_results.read_results(copy / "results").pairs["smoke"]
    assert set(remaining) == set(METHODS) - {"a_ialp_ft"}


def test_the_search_uses_tuning_users_and_separate_pretraining(copy, monkeypatch):
    users_of_calls = []
    adapt = search.adapt

    def spied(task, *args):
        users_of_calls.append(set(np.asarray(task.evaluation.users)))
        return adapt(task, *args)

    monkeypatch.setattr(search, "adapt", spied)
    study = tiny(methods="ialp,a_ialp_ft")
    narrow = dataclasses.replace(AGENTS["ialp"], space={"pretrain.ialp_updates": (2, 3)})
    monkeypatch.setitem(AGENTS, "ialp", narrow)
    reported = store.read_manifest(copy / "smoke" / "pretrain" / "ialp")
    study_stages.run_study(study, copy, "search", overwrite=False)
    dataset = load_dataset(copy / "smoke" / "data")
    assert users_of_calls
    for users in users_of_calls:
        assert users == set(dataset.users(TUNING))
        assert not users & set(dataset.users(EVALUATION))
    chosen = json.loads((copy / "tuned" / "smoke.json").read_text())
    assert set(chosen) == {"ialp", "a_ialp_ft"}
    folders = list((copy / "smoke" / "tuning").iterdir())
    assert len(folders) == 2  # one per configuration of ialp; a_ialp_ft starts from the better one
    temperatures = study.run_config("smoke").pretrain.temperature_values()
    assert all(store.read_manifest(one)["temperature"] in temperatures for one in folders)
    assert store.read_manifest(copy / "smoke" / "pretrain" / "ialp") == reported
    log = pd.read_csv(copy / "results" / "tuning" / "smoke.csv")
    assert list(log.columns) == LOG_COLUMNS
    users_of_calls.clear()
    study_stages.run_study(study, copy, "search", overwrite=False)
    assert not users_of_calls


def test_a_not_offline_world_takes_its_labels_from_the_first_run(copy, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("started the LLM although every prompt has a label")

    monkeypatch.setattr("ialp_jax.labelling.worker_process.subprocess.Popen", forbidden)
    study = tiny(not_offline="smoke", methods="random,oracle,ialp")
    for stage in ("data", "simulate", "label"):
        study_stages.run_study(study, copy, stage, overwrite=False)
    one, other = (store.load(copy / name / "labels")[0] for name in ("smoke", "smoke_not_offline"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    models = [store.load(copy / name / "simulator")[0] for name in ("smoke", "smoke_not_offline")]
    assert not np.array_equal(models[0]["item_factors"], models[1]["item_factors"])

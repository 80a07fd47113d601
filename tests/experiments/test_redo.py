"""Tests which settings and files each part depends on, and which parts a run would make again."""

from __future__ import annotations

import math
import shutil
import time

import numpy as np
import pytest

from experiments.config import Config
from experiments.flags import STAGES, knobs
from experiments.run import ELSEWHERE, UNSEEN, Run, settings, start_from
from experiments.stages import fits, recipes, redo
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.claim import RUN, claim
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import SOURCES
from ialp_jax.simulator.config import replaced

ADAPTED = {f"adapt/{name}" for name in registry.ids()}
PRETRAINED = {f"pretrain/{name}" for name in recipes.NEEDS}
LABEL_TRAINED = {"labels", *PRETRAINED, *ADAPTED}


def config_of(source="llm", lora=True, **changes):
    config = Config()
    config.adapt.agents, config.labelling.source = ",".join(registry.ids()), source
    config.audit.enabled, config.llm.lora.steps = True, 5 if lora else 0
    return replaced(config, changes)


def parts(config):
    return [part for stage in STAGES for part in recipes.parts(config, stage)]


def make(folder, config, seconds=20.0):
    """Makes a finished run. Each file contains only the name of its part."""
    run = Run(folder, config)
    store.write_json(folder / "config.json", settings(config))
    for number, part in enumerate(parts(config)):
        (folder / part / "params").mkdir(parents=True)
        (folder / part / "params/x").write_text(part)
        store.write_arrays(folder / part / "arrays.npz", {"x": np.array(number)})
        store.seal(folder / part, recipes.stamp(run, part, time.perf_counter() - seconds))
    return run


def stale(folder, config):
    run = Run(folder, config)
    return {part for part in parts(config) if fits.stale(run, part)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run that tests must not change."""
    folder = tmp_path_factory.mktemp("made") / "run"
    make(folder, config_of())
    return folder


CASES = [
    ("adapt.agents", "random,a2c", set()),
    ("adapt.seeds_by", "map", set()),
    ("devices.seeds", 1, set()),
    ("tensorboard", False, set()),
    ("llm.store", "elsewhere", set()),
    ("llm.workers", 7, set()),
    ("labelling.none_share", 0.5, set()),  # only sources other than the LLM use this setting
    ("evaluation.episodes", 5, ADAPTED),
    ("evaluation.ends", 5, ADAPTED),
    ("evaluation.points", 5, ADAPTED),
    ("evaluation.greedy", True, ADAPTED),
    ("adapt.env_steps", 7000, ADAPTED),
    ("agents.a2c.learning_rate", 0.5, {"adapt/a2c"}),
    ("agents.a_ialp_ft.learning_rate", 0.5, {"adapt/a_ialp_ft"}),
    ("pretrain.sasrec_updates", 5, {"pretrain/sasrec"}),
    ("pretrain.ialp_updates", 5, {"pretrain/ialp"}),
    ("pretrain.soft_updates", 5, {"pretrain/ialp_soft"}),
    ("agents.ialp_soft.label_temperature", 2.0, {"pretrain/ialp_soft"}),
    ("agents.ialp_soft.prior_weight", 0.5, {"pretrain/ialp_soft"}),
    ("pretrain.temperatures", "0.5,1", PRETRAINED),
    ("pretrain.temperature_episodes", 5, PRETRAINED),
    ("agents.a_ialp_ft.start_from", "ialp_soft", {"adapt/a_ialp_ft"}),
    ("num_seeds", 9, PRETRAINED | ADAPTED),
    ("labelling.rounds", 9, {"labels"}),
    ("labelling.horizon", 5, {"labels"}),
    ("labelling.staggered", False, {"labels"}),
    ("labelling.popular_share", 0.2, {"labels"}),
    ("labelling.uniform_share", 0.1, {"labels"}),
    ("llm.lora.save_every", 9, set()),
    ("audit.users", 9, {"audit"}),
    ("network.width", 16, LABEL_TRAINED),
    ("seed", 5, LABEL_TRAINED | {"lora", "audit"}),
    ("simulator.patience", 9.0, LABEL_TRAINED),
    ("simulator.user_model.seed", 9, LABEL_TRAINED | {"simulator"}),
    ("llm.lora.steps", 6, {"lora", "labels", "audit"}),
    ("data.demo.items", 99, {"data"}),
]


@pytest.mark.parametrize(("path", "value", "changed"), CASES)
def test_a_setting_redoes_only_the_parts_that_read_it(folder, path, value, changed):
    config = config_of(**{path: value})
    assert stale(folder, config) == changed & set(parts(config))
    assert all(path in fits.stale(Run(folder, config), part) for part in changed)


def test_every_setting_acts_on_some_part_or_is_known_to_act_on_none():
    read = set()
    for source in SOURCES:
        config = config_of(source, **{"labelling.calibration": "logistic" if "+" in source else "none"})
        read |= {path for part in parts(config) for path in recipes.recipe(config, part).settings}
        read |= recipes.reference_settings(config).keys()
    idle = {"name", "adapt.agents", "adapt.keep", "adapt.seeds_by", "llm.lora.save_every"}
    idle |= {f"llm.{name}" for name in ELSEWHERE}
    known = {path for path, _, _ in knobs(Config()) if path.partition(".")[0] not in UNSEEN}
    assert known - read == idle
    assert {path for path in read - known if not path.startswith("llm.")} == set()


@pytest.mark.parametrize("source", [name for name in SOURCES if "llm" not in name])
def test_labels_of_another_source_do_not_depend_on_the_llm(tmp_path, source):
    make(tmp_path, config_of(source, lora=False))
    changed = config_of(source, lora=False, **{"llm.batch_size": 3, "llm.embedded.steps": 7})
    assert stale(tmp_path, changed) == {"audit"}
    assert stale(tmp_path, config_of(source, lora=False, **{"labelling.none_share": 0.5})) == {"labels"}
    lettered = config_of(source, lora=False, **{"llm.mode": "choice"})  # other items may look alike
    assert stale(tmp_path, lettered) == {"labels", "audit"}
    assert "lora" not in recipes.recipe(config_of(source), "labels").reads
    assert "lora" in recipes.recipe(config_of(source), "audit").reads


@pytest.mark.parametrize("source", SOURCES)
def test_calibrated_labels_depend_on_the_held_out_users_and_not_on_the_share_of_none(tmp_path, source):
    calibrated = {"labelling.calibration": "logistic"}
    make(tmp_path, config_of(source, lora=False, **calibrated))

    def labels_change(path, value):
        return "labels" in stale(tmp_path, config_of(source, lora=False, **calibrated, **{path: value}))

    assert labels_change("llm.embedded.holdout", 0.3)
    assert labels_change("labelling.calibration_questions", 7)
    assert not labels_change("labelling.none_share", 0.5)
    assert labels_change("pretrain.sasrec_updates", 5) == ("log_model" in source)
    assert labels_change("pretrain.sasrec_learning_rate", 0.1) == ("log_model" in source)
    assert labels_change("llm.embedded.steps", 5) == ("llm" in source)
    assert ("lora" in recipes.recipe(config_of(source, **calibrated), "labels").reads) == ("llm" in source)


def test_the_held_out_users_matter_only_to_labels_that_use_them(tmp_path):
    assert "llm.embedded.holdout" in recipes.recipe(config_of("log_model"), "labels").settings
    assert "llm.embedded.holdout" not in recipes.recipe(config_of("popularity"), "labels").settings


def test_the_adapter_is_made_only_if_labels_or_the_audit_ask_the_llm():
    def made(source, audit):
        return recipes.parts(config_of(source, **{"audit.enabled": audit}), "lora")

    assert (
        made("llm", False)
        == made("llm+log_model", False)
        == made("llm", True)
        == made("popularity", True)
        == ["lora"]
    )
    assert made("popularity", False) == made("log_model", False) == []


@pytest.mark.parametrize(
    ("part", "file", "changed"),
    [
        ("simulator", "worlds.csv", set()),
        ("simulator", "validation.npz", set()),
        ("simulator", "arrays.npz", LABEL_TRAINED),
        ("labels", "shards/one.npz", set()),  # a file of the label store, which grows with every request
        ("labels", "arrays.npz", {"pretrain/ialp", "pretrain/ialp_soft", "adapt/rlpd"}),
        ("pretrain/ialp", "arrays.npz", set()),  # its curve
        ("pretrain/a2c_warm", "params/x", {"adapt/a2c_warm"}),
        ("adapt/a2c", "arrays.npz", set()),
    ],
)
def test_a_file_redoes_only_the_parts_that_read_it(tmp_path, part, file, changed):
    make(tmp_path, config_of())
    manifest = store.read_manifest(tmp_path / part)
    (tmp_path / part / file).parent.mkdir(exist_ok=True)
    (tmp_path / part / file).write_text("other")
    store.seal(tmp_path / part, manifest)
    assert stale(tmp_path, config_of()) == changed
    why = f"was made from other files of {part}"
    assert all(fits.stale(Run(tmp_path, config_of()), one) == why for one in changed)


def test_another_temperature_redoes_the_agents_that_start_from_this_policy(tmp_path):
    config = config_of(**{"agents.jsrl.start_from": "ialp_soft", "agents.pex.start_from": "ialp_soft"})
    make(tmp_path, config)
    manifest = store.read_manifest(tmp_path / "pretrain/ialp_soft")
    store.seal(tmp_path / "pretrain/ialp_soft", manifest | {"temperature": 0.5})
    changed = {f"adapt/{name}" for name in ("ialp_soft", "jsrl", "pex")}
    assert stale(tmp_path, config) == changed
    for part in changed:
        assert fits.stale(Run(tmp_path, config), part) == "was made from other files of pretrain/ialp_soft"


def test_other_temperatures_redo_all_pretrainings_and_the_agents_that_start_from_them(folder):
    run = Run(folder, config_of(**{"pretrain.temperatures": "0.5"}))
    reasons = {one.part: one.why for one in redo.redone(run, STAGES)}
    starting = {f"adapt/{name}" for name in registry.ids() if registry.starts_from(name, run.config.agents)}
    assert set(reasons) == PRETRAINED | starting
    assert reasons["pretrain/sasrec"].startswith("pretrain.temperatures: ")
    assert reasons["adapt/sasrec"] == "made from pretrain/sasrec"


def test_a_part_reads_the_pretraining_that_its_agent_starts_from():
    config = config_of(**{"agents.a_ialp_ap.start_from": "a2c_warm", "adapt.agents": "a_ialp_ap"})
    assert "pretrain/a2c_warm" in recipes.recipe(config, "adapt/a_ialp_ap").reads
    assert recipes.parts(config, "pretrain") == ["pretrain/a2c_warm"]
    assert recipes.parts(config_of(**{"adapt.agents": "a_ialp_ap"}), "pretrain") == ["pretrain/ialp"]


def test_a_missing_part_does_not_make_later_parts_unfit_and_a_part_without_fingerprint_fits(tmp_path):
    run = make(tmp_path, config_of())
    (tmp_path / "labels" / store.MANIFEST).unlink()
    assert stale(tmp_path, config_of()) == set()
    fits.require(run, "adapt/a_ialp_ft")
    with pytest.raises(InputError, match=r"/labels is missing; run --stage=label first$"):
        fits.require(run, "pretrain/ialp")
    store.seal(tmp_path / "labels", {})
    assert stale(tmp_path, config_of()) == set()
    fits.require(run, "pretrain/ialp")


def test_a_part_of_an_earlier_version_that_does_not_fit_is_not_taken_for_a_users(tmp_path):
    make(tmp_path, config_of())
    manifest = store.read_manifest(tmp_path / "labels")
    manifest["key"] = manifest.pop("fingerprint")  # its name in earlier versions
    store.write_json(tmp_path / "labels" / store.MANIFEST, manifest)
    assert stale(tmp_path, config_of()) == set()
    assert "labels" in stale(tmp_path, config_of(**{"labelling.rounds": 9}))


def test_a_part_made_from_a_part_that_no_longer_fits_is_not_read(tmp_path):
    make(tmp_path, config_of())
    run = Run(tmp_path, config_of(**{"labelling.rounds": 9}))
    for part in ("adapt/a_ialp_ft", "adapt/rlpd", "pretrain/ialp"):
        with pytest.raises(InputError, match=r"/labels was made .*rounds: 6 -> 9\); run --stage=label "):
            fits.require(run, part)
    fits.require(run, "adapt/a2c_warm")
    fits.require_fitting(run, "adapt/rlpd", made={"labels"})


def names(parts):
    return [one.part for one in parts]


def test_a_run_with_the_same_settings_makes_nothing_again(folder):
    assert redo.redone(Run(folder, config_of()), STAGES) == []


def test_measuring_settings_redo_parts_without_request_even_if_they_took_long(tmp_path):
    make(tmp_path, config_of(), seconds=1e6)
    run = Run(tmp_path, config_of(**{"evaluation.episodes": 5}))
    assert names(redo.check(run, STAGES)) == ["simulator", *(f"adapt/{name}" for name in registry.ids())]
    assert redo.settle(run, STAGES)[0] == "simulator: evaluation.episodes: 256 -> 5; made anew"
    assert store.read_json(tmp_path / "config.json")["evaluation"]["episodes"] == 5


def test_later_parts_that_read_a_redone_part_are_redone(folder):
    run = Run(folder, config_of(**{"labelling.rounds": 9}))
    reasons = {one.part: one.why for one in redo.redone(run, STAGES)}
    assert reasons["labels"] == "labelling.rounds: 6 -> 9"
    assert reasons["pretrain/ialp"] == "made from labels"
    assert reasons["adapt/rlpd"] == "made from pretrain/ialp, labels"
    agents = run.config.agents
    fed = [name for name in registry.ids() if registry.starts_from(name, agents) in registry.ON_LABELS]
    pretrained = {f"pretrain/{name}" for name in registry.ON_LABELS}
    assert set(reasons) == {"labels", *pretrained, *(f"adapt/{name}" for name in fed)}
    assert names(redo.redone(run, ["label"])) == ["labels"]


@pytest.mark.parametrize(("seconds", "refused"), [(59.0, False), (61.0, True), (math.nan, True)])
def test_more_than_a_minute_of_work_is_replaced_only_on_request(tmp_path, seconds, refused):
    make(tmp_path, config_of(), seconds=0.0)
    manifest = store.read_manifest(tmp_path / "labels")
    took = {} if math.isnan(seconds) else {"seconds": seconds}
    store.write_json(tmp_path / "labels" / store.MANIFEST, {**manifest, "provenance": {}, **took})
    before = (tmp_path / "config.json").read_bytes()
    run = Run(tmp_path, config_of(**{"labelling.rounds": 9}))
    if refused:
        with pytest.raises(InputError, match=r"replace finished work: labels \(.*or --redo to replace it$"):
            redo.settle(run, ["label"])
        assert (tmp_path / "config.json").read_bytes() == before
    else:
        redo.settle(run, ["label"])
    for one in (Run(run.folder, run.config, overwrite=True), Run(run.folder, run.config, free={"labelling"})):
        assert names(redo.check(one, ["label"])) == ["labels"]


def test_a_copied_part_is_replaced_without_request_while_its_original_exists(tmp_path):
    original, copy = tmp_path / "original", tmp_path / "copy"
    claim(original, RUN)
    make(original, config_of(), seconds=1e6)
    start_from(original, copy)
    run = Run(copy, config_of(**{"labelling.rounds": 9}))
    assert names(redo.check(run, ["label", "pretrain"]))[0] == "labels"
    assert (
        redo.redone(Run(copy, config_of()), ["label", "pretrain"]) == []
    )  # copies fit as their originals do
    shutil.rmtree(original / "labels")
    with pytest.raises(InputError, match=r"replace finished work: labels"):
        redo.check(run, ["label"])


def test_redoing_only_the_references_costs_nothing_and_redoes_no_later_part(folder):
    parts_again = redo.redone(
        Run(folder, config_of(**{"evaluation.episodes": 5})), ["simulate", "label", "pretrain"]
    )
    assert names(parts_again) == ["simulator"]
    assert (parts_again[0].seconds, parts_again[0].asked) == (0.0, True)


def test_data_at_another_place_are_read_again_and_later_parts_depend_on_their_files(folder):
    parts_again = redo.redone(Run(folder, config_of(**{"data.root": "elsewhere"})), STAGES)
    assert names(parts_again) == ["data"]

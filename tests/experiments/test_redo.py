"""What the parts of a run folder depend on, and which of them a run would make anew."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from experiments.config import Config
from experiments.flags import STAGES, knobs
from experiments.run import ELSEWHERE, UNSEEN, Run, settings
from experiments.stages import fits, recipes, redo
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.errors import InputError
from ialp_jax.simulator.config import replaced
from ialp_jax.training.config import SOURCES

ADAPTED = {f"adapt/{name}" for name in registry.ids()}
PRETRAINED = {f"pretrain/{name}" for name in recipes.NEEDS}
LABEL_TRAINED = {"labels", *PRETRAINED, *ADAPTED}


def config_of(source="llm", tuned=True, **changes):
    config = Config()
    config.adapt.agents, config.labelling.source = ",".join(registry.ids()), source
    config.audit.enabled, config.llm.tune.steps = True, 5 if tuned else 0
    return replaced(config, changes)


def parts(config):
    return [part for stage in STAGES for part in recipes.parts(config, stage)]


def make(folder, config, seconds=20.0):
    """A finished run whose files say only which part they are of."""
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
    """A finished run; not to be changed."""
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
    ("labelling.none_share", 0.5, set()),  # of other sources than the LLM
    ("evaluation.episodes", 5, ADAPTED),
    ("evaluation.points", 5, ADAPTED),
    ("evaluation.greedy", True, ADAPTED),
    ("adapt.env_steps", 7000, ADAPTED),
    ("agents.a2c.learning_rate", 0.5, {"adapt/a2c"}),
    ("agents.a_ialp_ft.learning_rate", 0.5, {"adapt/a_ialp_ft"}),
    ("pretrain.sasrec_updates", 5, {"pretrain/sasrec"}),
    ("pretrain.ialp_updates", 5, {"pretrain/ialp"}),
    ("num_seeds", 9, PRETRAINED | ADAPTED),
    ("labelling.rounds", 9, {"labels"}),
    ("llm.tune.save_every", 9, set()),
    ("audit.users", 9, {"audit"}),
    ("network.width", 16, LABEL_TRAINED),
    ("seed", 5, LABEL_TRAINED | {"tune", "audit"}),
    ("simulator.patience", 9.0, LABEL_TRAINED),
    ("simulator.user_model.seed", 9, LABEL_TRAINED | {"simulator"}),
    ("llm.tune.steps", 6, {"tune", "labels", "audit"}),
    ("data.demo.items", 99, {"data"}),
]


@pytest.mark.parametrize(("path", "value", "changed"), CASES)
def test_a_setting_redoes_the_parts_that_read_it_alone(folder, path, value, changed):
    config = config_of(**{path: value})
    assert stale(folder, config) == changed & set(parts(config))
    assert all(path in fits.stale(Run(folder, config), part) for part in changed)


def test_every_setting_acts_on_some_part_or_is_known_to_act_on_none():
    read = set()
    for source in SOURCES:
        config = config_of(source)
        read |= {path for part in parts(config) for path in recipes.recipe(config, part).settings}
        read |= recipes.reference_settings(config).keys()
    idle = {"name", "adapt.agents", "adapt.seeds_by", "llm.tune.save_every"}
    idle |= {f"llm.{name}" for name in ELSEWHERE}
    known = {path for path, _, _ in knobs(Config()) if path.partition(".")[0] not in UNSEEN}
    assert known - read == idle
    assert {path for path in read - known if not path.startswith("llm.")} == set()


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "llm"])
def test_labels_of_another_source_do_not_depend_on_the_llm(tmp_path, source):
    make(tmp_path, config_of(source, tuned=False))
    changed = config_of(source, tuned=False, **{"llm.batch_size": 3, "llm.embedded.steps": 7})
    assert stale(tmp_path, changed) == {"audit"}
    assert stale(tmp_path, config_of(source, tuned=False, **{"labelling.none_share": 0.5})) == {"labels"}
    lettered = config_of(source, tuned=False, **{"llm.mode": "choice"})  # which items look alike may change
    assert stale(tmp_path, lettered) == {"labels", "audit"}
    assert "tune" not in recipes.recipe(config_of(source), "labels").reads


@pytest.mark.parametrize(
    ("part", "file", "changed"),
    [
        ("simulator", "worlds.csv", set()),
        ("simulator", "validation.npz", set()),
        ("simulator", "arrays.npz", LABEL_TRAINED),
        ("labels", "shards/one.npz", set()),  # of the label store, which grows with every question
        ("labels", "arrays.npz", {"pretrain/ialp", "adapt/rlpd"}),
        ("pretrain/ialp", "arrays.npz", set()),  # its curve
        ("pretrain/a2c_warm", "params/x", {"adapt/a2c_warm"}),
        ("adapt/a2c", "arrays.npz", set()),
    ],
)
def test_a_file_redoes_the_parts_that_read_it_alone(tmp_path, part, file, changed):
    make(tmp_path, config_of())
    manifest = store.read_manifest(tmp_path / part)
    (tmp_path / part / file).parent.mkdir(exist_ok=True)
    (tmp_path / part / file).write_text("other")
    store.seal(tmp_path / part, manifest)
    assert stale(tmp_path, config_of()) == changed
    why = f"was made from other files of {part}"
    assert all(fits.stale(Run(tmp_path, config_of()), one) == why for one in changed)


def test_what_is_gone_does_not_make_later_parts_unfit_and_what_was_put_there_fits(tmp_path):
    run = make(tmp_path, config_of())
    (tmp_path / "labels" / store.MANIFEST).unlink()
    assert stale(tmp_path, config_of()) == set()
    fits.require(run, "adapt/a_ialp_ft")
    with pytest.raises(InputError, match=r"/labels is missing; run --stage=label first$"):
        fits.require(run, "pretrain/ialp")
    store.seal(tmp_path / "labels", {})
    assert stale(tmp_path, config_of()) == set()
    fits.require(run, "pretrain/ialp")


def test_a_part_that_was_made_from_what_has_changed_since_is_not_read(tmp_path):
    make(tmp_path, config_of())
    run = Run(tmp_path, config_of(**{"labelling.rounds": 9}))
    for part in ("adapt/a_ialp_ft", "adapt/rlpd", "pretrain/ialp"):
        with pytest.raises(InputError, match=r"/labels was made .*rounds: 6 -> 9\); run --stage=label "):
            fits.require(run, part)
    fits.require(run, "adapt/a2c_warm")
    fits.require_fitting(run, "adapt/rlpd", made={"labels"})


def names(parts):
    return [one.part for one in parts]


def test_a_run_of_the_same_settings_makes_nothing_anew(folder):
    assert redo.redone(Run(folder, config_of()), STAGES) == []


def test_what_is_measured_otherwise_is_made_anew_unasked_whatever_it_cost(tmp_path):
    make(tmp_path, config_of(), seconds=1e6)
    run = Run(tmp_path, config_of(**{"evaluation.episodes": 5}))
    assert names(redo.check(run, STAGES)) == ["simulator", *(f"adapt/{name}" for name in registry.ids())]
    assert redo.settle(run, STAGES)[0] == "simulator: evaluation.episodes: 256 -> 5; made anew"
    assert store.read_json(tmp_path / "config.json")["evaluation"]["episodes"] == 5


def test_what_later_stages_read_anew_counts_too(folder):
    run = Run(folder, config_of(**{"labelling.rounds": 9}))
    told = {one.part: one.why for one in redo.redone(run, STAGES)}
    assert told["labels"] == "labelling.rounds: 6 -> 9"
    assert told["pretrain/ialp"] == "made from labels"
    assert told["adapt/rlpd"] == "made from pretrain/ialp, labels"
    fed = [name for name in registry.ids() if registry.starts_from(name) == "ialp"]
    assert set(told) == {"labels", "pretrain/ialp", *(f"adapt/{name}" for name in fed)}
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


def test_the_references_alone_cost_nothing_and_feed_nothing(folder):
    found = redo.redone(
        Run(folder, config_of(**{"evaluation.episodes": 5})), ["simulate", "label", "pretrain"]
    )
    assert names(found) == ["simulator"]
    assert (found[0].seconds, found[0].asked) == (0.0, True)


def test_data_at_another_place_are_read_again_and_later_parts_are_judged_by_their_files(folder):
    found = redo.redone(Run(folder, config_of(**{"data.root": "elsewhere"})), STAGES)
    assert names(found) == ["data"]

"""Tests the whole pipeline on a tiny world: its files, its finished parts, and repeated runs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from diagnostic_worlds import quick_compilation  # noqa: F401, an autouse fixture
from safetensors import numpy as tensors

from experiments import stages
from experiments.config import Config
from experiments.configs import smoke
from experiments.flags import STAGES
from experiments.reporting.styles import style
from experiments.run import Run, start_from
from experiments.stages import adapt_stage, common, pretrain_stage
from experiments.stages.recipes import NEEDS, fingerprint, recipe
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.data.files import load_dataset
from ialp_jax.data.splits import split_offline
from ialp_jax.errors import InputError
from ialp_jax.evaluation.sanity import world_checks
from ialp_jax.labelling.label_files import catalogue_facts
from ialp_jax.labelling.label_store import LabelStore
from ialp_jax.simulator.config import replaced
from ialp_jax.training import kept
from ialp_jax.training.offline import offline_windows
from ialp_jax.training.params import load_params
from ialp_jax.training.seeds import seed_keys
from ialp_jax.training.sessions import measurer, player
from ialp_jax.types import EVALUATION, OFFLINE

METRICS = {
    "initial_return",
    "final_return",
    "final_length",
    "worst_drop",
    "auc_return",
    "regain_steps",
    "reward_per_step",
    "coverage",
    "category_entropy",
    "gini",
}


def tiny() -> Config:
    config = smoke.get_config()
    config.data.demo.users = 80
    config.data.demo.items = 60
    config.labelling.sessions = 8
    config.labelling.steps = 2
    config.llm.embedded.steps = 3
    config.llm.threads = 1
    config.evaluation.episodes, config.evaluation.ends = 8, 12
    config.adapt.env_steps = 1000
    for agent in filter(registry.learns, registry.ids()):
        getattr(config.agents, agent).num_users = 100
        getattr(config.agents, agent).rollout_length = 5
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which every stage has run. Tests that change files use `copy`."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    stages.run_stages(Run.open(folder, tiny(), overwrite=False), STAGES)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def written(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def again(folder, names=STAGES, change=lambda config: None, overwrite=False):
    config = tiny()
    change(config)
    stages.run_stages(Run.open(folder, config, overwrite), names)


def test_the_report_has_every_agent_and_metric_of_the_design(finished):
    summary = pd.read_csv(finished / "report" / "summary.csv")
    assert list(summary.columns) == [
        "world",
        "agent",
        "metric",
        "mean",
        "iqm",
        "ci_low",
        "ci_high",
        "num_seeds",
        "starts_from",
        "temperature",
    ]
    pairs = set(zip(summary.agent, summary.metric, strict=True))
    assert pairs >= {(agent, metric) for agent in tiny().agent_ids() for metric in METRICS}
    assert set(summary.num_seeds) == {2}
    curves = pd.read_csv(finished / "report" / "curves.csv")
    assert list(curves.columns) == ["world", "agent", "seed", "env_steps", "metric", "value"]
    assert set(curves.agent) == set(tiny().agent_ids())
    worlds = pd.read_csv(finished / "report" / "worlds.csv")
    assert set(worlds.metric) >= {
        *("users", "items", "interactions", "like_rate", "auc", "popularity_auc", "ece"),
        *(f"{name}_{what}" for name in ("random", "popular", "oracle") for what in ("return", "length")),
    }
    page = (finished / "report" / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") >= 3


def test_summary_agrees_with_the_curves(finished):
    summary = pd.read_csv(finished / "report" / "summary.csv").set_index(["agent", "metric"])["mean"]
    curves = pd.read_csv(finished / "report" / "curves.csv")
    for agent in ("a2c", "a_ialp_ap", "oracle"):
        rows = curves[(curves.agent == agent) & (curves.metric == "return")]
        first, last = rows.env_steps.min(), rows.env_steps.max()
        assert last == 1000
        assert np.isclose(summary[agent, "initial_return"], rows[rows.env_steps == first].value.mean())
        assert np.isclose(summary[agent, "final_return"], rows[rows.env_steps == last].value.mean())


def test_iALP_ft_and_ap_start_at_the_same_policy(finished):
    first = {
        name: store.load(finished / "adapt" / name)[0]["return"][:, 0]
        for name in ("ialp", "a_ialp_ft", "a_ialp_ap")
    }
    np.testing.assert_array_equal(first["ialp"], first["a_ialp_ft"])
    np.testing.assert_array_equal(first["ialp"], first["a_ialp_ap"])


STARTING = ("sasrec", "a2c_warm", "ialp", "ialp_soft", "a_ialp_ft", "a_ialp_ap")


def test_agents_start_at_the_chosen_temperature_of_their_pretraining(finished):
    run = Run(finished, tiny())
    world = common.read_worlds(run).training
    summary = pd.read_csv(finished / "report" / "summary.csv").set_index("agent")
    for name in STARTING:
        source = registry.starts_from(name, run.config.agents)
        arrays, manifest = store.load(finished / "pretrain" / source)
        assert arrays["temperatures"].tolist() == run.config.pretrain.temperature_values()
        returns = arrays["temperature_return"]
        assert returns.shape == (2, 6)
        assert returns.mean(0).max() == returns.mean(0)[arrays["temperatures"] == manifest["temperature"]]
        kinds = (("starts_from", source), ("temperature", manifest["temperature"]))
        for kind, value in kinds:
            assert store.read_manifest(finished / "adapt" / name)[kind] == value
            assert set(summary.loc[name, kind]) == {value}
        start = adapt_stage.pretrained_params(run, world, name)["params"]
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), start)
        stored = load_params(finished / "pretrain" / source / "params", {"params": like})["params"]
        head = "ItemHead_0" if source == "sasrec" else "actor"
        for part, leaves in start.items():
            scale = manifest["temperature"] if part == head else 1.0
            jax.tree.map(lambda a, b, t=scale: np.testing.assert_array_equal(t * a, b), leaves, stored[part])
    assert summary.loc["a2c"][["starts_from", "temperature"]].isna().all(axis=None)


def test_the_page_names_the_temperature_of_each_row(finished):
    page = (finished / "report" / "index.html").read_text()
    for name in ("ialp", "sasrec"):
        temperature = store.read_manifest(finished / "pretrain" / name)["temperature"]
        shown = style(name).name
        assert f"{shown}<small>temperature {temperature:g}</small>" in page.replace("\n", "")
        assert f"{shown} at {temperature:g} (return " in page


def test_kept_states_of_a_frozen_policy_are_tempered(finished):
    run = Run(finished, tiny())
    start = adapt_stage.pretrained_params(run, common.read_worlds(run).training, "sasrec")
    files = sorted((finished / "adapt/sasrec/states").iterdir())
    for seed, file in enumerate(files):
        bias = tensors.load(file.read_bytes())["params/params/ItemHead_0/bias"]
        np.testing.assert_array_equal(bias, start["params"]["ItemHead_0"]["bias"][seed])


def test_a_pretraining_that_is_killed_while_it_chooses_its_temperature_ends_with_the_same_bits(
    finished, copy, monkeypatch
):
    for name in ("ialp_soft", "sasrec"):
        shutil.rmtree(copy / "pretrain" / name)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_stage, "choose_temperature", killed)
        with pytest.raises(KeyboardInterrupt):
            again(copy, ("pretrain",))
    assert not (copy / "pretrain/ialp_soft").exists()
    again(copy, ("pretrain",))
    for name in ("ialp_soft", "sasrec"):
        before, manifest = store.load(finished / "pretrain" / name)
        after, manifest_again = store.load(copy / "pretrain" / name)
        assert manifest["temperature"] == manifest_again["temperature"]
        for array in before:
            np.testing.assert_array_equal(before[array], after[array])


def test_an_agent_starts_from_the_pretraining_that_its_setting_names(copy):
    def change(config):
        config.adapt.agents = "ialp,ialp_soft,a_ialp_ft,a2c_warm"
        config.agents.a_ialp_ft.start_from = "ialp_soft"
        config.agents.a2c_warm.start_from = "ialp"

    again(copy, STAGES, change, overwrite=True)
    first = {
        name: store.load(copy / "adapt" / name)[0]["return"][:, 0]
        for name in ("ialp", "ialp_soft", "a_ialp_ft", "a2c_warm")
    }
    np.testing.assert_array_equal(first["ialp_soft"], first["a_ialp_ft"])
    np.testing.assert_array_equal(first["ialp"], first["a2c_warm"])
    assert store.read_manifest(copy / "adapt/a_ialp_ft")["starts_from"] == "ialp_soft"
    summary = pd.read_csv(copy / "report" / "summary.csv").set_index("agent")
    assert set(summary.loc["a2c_warm"].starts_from) == {"ialp"}
    page = (copy / "report" / "index.html").read_text()
    assert "Pre-trained on logs" not in page  # both variants now start from labels


def test_labels_are_valid_and_only_of_offline_users(finished):
    arrays, manifest = store.load(finished / "labels")
    dataset = load_dataset(finished / "data")
    total = 2 * 2 * 8
    assert arrays["choice"].shape == (total,)
    assert arrays["candidates"].shape == (total, 5)
    assert arrays["candidates"].min() >= 1
    assert arrays["candidates"].max() <= dataset.catalogue.num_items
    assert set(np.unique(arrays["choice"])) <= set(range(-1, 6))
    own = [set(dataset.histories.of(user).tolist()) for user in dataset.users(OFFLINE)]
    starts = [set(row[row > 0].tolist()) for row in arrays["histories"][:8]]
    assert all(any(start <= likes for likes in own) for start in starts)
    for row in range(total):
        shown = arrays["shown"][row]
        assert not set(shown[shown > 0].tolist()) & set(arrays["candidates"][row].tolist())
    assert json.dumps(manifest)
    starts = offline_windows(dataset, arrays["histories"].shape[1], 0)
    assert (dataset.split[arrays["user"]] == OFFLINE).all()
    assert arrays["window"].dtype == arrays["user"].dtype == np.int32
    np.testing.assert_array_equal(arrays["user"], starts.user[arrays["window"]])
    np.testing.assert_array_equal(arrays["histories"][:8], starts.history[arrays["window"][:8]])
    assert [facts["round"] for facts in manifest["rounds"]] == [0, 1]
    assert {facts["prompts"] for facts in manifest["rounds"]} == {2 * 8}
    none = sum(facts["none"] * facts["prompts"] for facts in manifest["rounds"])
    assert none == pytest.approx((arrays["choice"] == 0).sum())
    first = manifest["rounds"][0]
    assert 0 < first["mean_like_probability"] < first["best_like_probability"] < 1


def test_a_second_run_writes_only_the_report(finished, capsys):
    before = written(finished)
    again(finished)
    after = written(finished)
    changed = {name for name in before if before[name] != after.get(name)}
    assert all(name.startswith("report/") or name == "config.json" for name in changed)
    assert capsys.readouterr().out.count("done before, kept") == 4 + 4 + len(tiny().agent_ids())


def test_a_setting_of_one_agent_redoes_only_that_agent(copy):
    before = written(copy)

    def change(config):
        config.agents.a2c.learning_rate = 0.01

    again(copy, ("data", "simulate", "label", "pretrain", "adapt"), change, overwrite=True)
    after = written(copy)
    changed = {name.rsplit("/", 1)[0] for name in after if after[name] != before.get(name)}
    watched = {f"tensorboard/adapt/a2c/{name}" for name in ("mean", "seed0", "seed1")}
    assert changed <= {"adapt/a2c", "adapt/a2c/states", "config.json", *watched}
    assert {"adapt/a2c", "adapt/a2c/states"} <= changed


def folders(names):
    return {name.rsplit("/", 1)[0] for name in names}


@pytest.mark.slow
def test_other_evaluation_sessions_redo_only_measurements(copy, tmp_path):
    def change(config):
        config.evaluation.episodes = 6
        config.adapt.agents = "random,a2c,ialp"

    before, curves = written(copy), store.load(copy / "adapt" / "a2c")[0]
    models = (copy / "simulator" / "arrays.npz").read_bytes()
    again(copy, change=change)
    after = written(copy)
    changed = {name for name in after if after[name] != before.get(name) and "tensorboard" not in name}
    agents = {f"adapt/{name}{kind}" for name in ("random", "a2c", "ialp") for kind in ("", "/states")}
    assert folders(changed) == {"simulator", "report", "config.json", *agents}
    assert (copy / "simulator" / "arrays.npz").read_bytes() == models
    redone = store.load(copy / "adapt" / "a2c")[0]
    np.testing.assert_array_equal(redone["learn/loss"], curves["learn/loss"])
    assert not np.array_equal(redone["return"], curves["return"])
    again(tmp_path / "fresh", ("data", "simulate"), change)
    fresh = (tmp_path / "fresh" / "simulator" / "worlds.csv").read_bytes()
    assert (copy / "simulator" / "worlds.csv").read_bytes() == fresh
    assert set(pd.read_csv(copy / "report" / "summary.csv").agent) == {"random", "a2c", "ialp"}


def test_the_states_of_every_agent_and_seed_are_kept(finished):
    dataset = load_dataset(finished / "data")
    for name in tiny().agent_ids():
        curves, manifest = store.load(finished / "adapt" / name)
        entry = manifest["states"]
        assert entry["keep"] == "last"
        assert entry["catalogue"]["items"] == dataset.catalogue.num_items
        files = sorted((finished / "adapt" / name / "states").iterdir())
        assert [file.name for file in files] == ["seed0.safetensors", "seed1.safetensors"]
        assert entry["bytes"] == sum(file.stat().st_size for file in files)
        assert [seed["seed"] for seed in entry["seeds"]] == [0, 1]
        returns = [seed["return"] for seed in entry["seeds"]]
        np.testing.assert_array_equal(np.float32(returns), curves["return"][:, -1])
        steps = 1000 if registry.learns(name) else 0
        assert {seed["env_steps"] for seed in entry["seeds"]} == {steps}


def test_kept_states_act_in_the_world_of_their_run(finished):
    run = Run(finished, tiny())
    worlds = common.read_worlds(run)
    agent, task = adapt_stage.agent_of(run, "a_ialp_ap", worlds), adapt_stage.online_task(run, worlds)
    catalogue = catalogue_facts(worlds.training.dataset)
    states = kept.load(finished / "adapt/a_ialp_ap", "a_ialp_ap", agent, task.env, task.evaluation, catalogue)
    play_seed = player(task.env, agent, task.key, task.evaluation_config)
    users = (task.evaluation, task.evaluation)
    measure = measurer(play_seed, users, task.evaluation_config, None, "map", None)
    row = measure(states, seed_keys(task.key, 2), True)
    curves = store.load(finished / "adapt/a_ialp_ap")[0]
    np.testing.assert_array_equal(row["return"], curves["return"][:, -1])


def test_states_that_were_not_kept_are_named_and_only_redo_makes_them(copy, capsys):
    def change(keep):
        def changed(config):
            config.adapt.agents, config.adapt.keep = "random", keep

        return changed

    before = written(copy / "adapt" / "random")
    again(copy, ("adapt",), change("none"), overwrite=True)
    assert "adapt random: done before, kept\n" in capsys.readouterr().out
    again(copy, ("adapt",), change("best"))
    line = "done before, kept; its states of --config.adapt.keep=best were not kept, --redo trains it again"
    assert line in capsys.readouterr().out
    assert written(copy / "adapt" / "random") == before
    again(copy, ("adapt",), change("best"), overwrite=True)
    assert store.read_manifest(copy / "adapt" / "random")["states"]["keep"] == "best"
    assert re.search(r"adapt random: return .* s, states of 0.0 MiB", capsys.readouterr().out)
    shutil.rmtree(copy / "adapt" / "random")
    again(copy, ("adapt",), change("none"), overwrite=True)
    assert not (copy / "adapt" / "random" / "states").exists()
    assert "states of" not in capsys.readouterr().out


def test_fewer_agents_redo_only_the_report(copy):
    before = written(copy)
    again(copy, change=few)
    changed = {name for name, time in written(copy).items() if time != before.get(name)}
    assert folders(changed) == {"report", "config.json"}


def test_settings_of_later_stages_do_not_disturb_earlier_ones(tmp_path, capsys):
    again(tmp_path, ("data",))
    again(tmp_path, ("simulate",), lambda config: setattr(config.adapt, "env_steps", 2000))
    again(tmp_path, ("data", "simulate"), lambda config: setattr(config.labelling, "rounds", 3))
    assert capsys.readouterr().out.count("done before, kept") == 2
    assert json.loads((tmp_path / "config.json").read_text())["labelling"]["rounds"] == 3


def test_manifests_and_page_say_where_results_come_from(finished):
    page = (finished / "report" / "index.html").read_text()
    assert f"<dt>jax</dt><dd>{jax.__version__}</dd>" in page
    for part in ("data", "simulator", "labels", "pretrain/ialp", "adapt/a2c", "report"):
        record = store.read_manifest(finished / part)["provenance"]
        assert record["versions"]["jax"] == jax.__version__
        assert record["seconds"] > 0
        assert part == "report" or f">{part}</th>" in page


def test_the_same_seed_gives_the_same_bits_and_seeds_differ(copy):
    before, _ = store.load(copy / "adapt" / "a_ialp_ap")
    shutil.rmtree(copy / "adapt" / "a_ialp_ap")
    again(copy, ("adapt",))
    after, _ = store.load(copy / "adapt" / "a_ialp_ap")
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert not np.array_equal(before["learn/loss"][0], before["learn/loss"][1])


def test_lost_labels_come_back_from_the_store_without_an_llm(copy, monkeypatch):
    before, _ = store.load(copy / "labels")
    (copy / "labels" / "manifest.json").unlink()
    (copy / "labels" / "arrays.npz").unlink()

    def forbidden(*args, **kwargs):
        raise AssertionError("the LLM was started although every prompt is labelled")

    monkeypatch.setattr("ialp_jax.labelling.worker_process.subprocess.Popen", forbidden)
    again(copy, ("label",))
    after, _ = store.load(copy / "labels")
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_labels_of_another_catalogue_are_refused_before_anything_is_lost(copy):
    shutil.rmtree(copy / "data")
    shutil.rmtree(copy / "simulator")

    def change(config):
        config.data.demo.items = 70
        config.adapt.agents = "ialp"

    again(copy, ("data", "simulate"), change, overwrite=True)
    before = written(copy / "pretrain")
    with pytest.raises(
        InputError, match=r"/labels was made from other files of data; run .*=label"
    ) as caught:
        again(copy, ("pretrain",), change, overwrite=True)
    assert "\n" not in str(caught.value)
    assert written(copy / "pretrain") == before


def test_a_run_that_starts_from_another_keeps_what_fits(finished, tmp_path, capsys):
    folder = tmp_path / "new"
    start_from(finished, folder)
    again(folder, ("data", "simulate", "label"))
    assert capsys.readouterr().out.count("done before, kept") == 3
    again(folder, ("data", "simulate"), lambda c: setattr(c.simulator, "patience", 3.0), overwrite=True)
    assert "data: done before, kept" in (said := capsys.readouterr().out)
    assert "simulate: done before" not in said
    with pytest.raises(InputError, match="not a run folder"):
        start_from(tmp_path, folder)


def test_labels_do_not_depend_on_the_place_of_the_store():
    def depends_on(**changes):
        config = tiny()
        config.llm = dataclasses.replace(config.llm, **changes)
        return recipe(config, "labels")

    assert depends_on(store="elsewhere") == depends_on()
    assert depends_on(normalise="mean") != depends_on()


def few(config):
    config.adapt.agents = "random,ialp"


@pytest.mark.slow
def test_a_fine_tuned_model_labels_with_its_own_adapter(copy, capsys):
    def change(config):
        config.llm.lora.steps = 3
        config.llm.lora.batch_size = 2
        config.llm.lora.learning_rate = 0.05
        few(config)

    before, plain = store.load(copy / "labels")
    with pytest.raises(InputError, match=r"/lora is missing; run --stage=lora first"):
        again(copy, ("label",), change, overwrite=True)
    again(copy, ("lora", "label", "pretrain", "adapt", "report"), change, overwrite=True)
    manifest = store.verify(copy / "lora")
    assert manifest["fine_tuning"]["num_candidates"] == tiny().labelling.candidates
    assert manifest["fine_tuning"]["history_length"] == tiny().simulator.history_length
    after, adapted = store.load(copy / "labels")
    assert not np.array_equal(before["scores"], after["scores"])
    assert plain["adapter"] == "" != adapted["adapter"]
    page = (copy / "report" / "index.html").read_text()
    assert "Fine-tuning of the model" in page
    assert "held-out accuracy after" in page
    capsys.readouterr()
    again(copy, ("lora", "label"), change)
    assert capsys.readouterr().out.count("done before, kept") == 2
    again(copy, ("label", "pretrain", "adapt", "report"), few, overwrite=True)
    assert "Fine-tuning of the model" not in (copy / "report" / "index.html").read_text()


def test_without_steps_lora_does_nothing(finished, capsys):
    again(finished, ("lora",))
    assert "lora: off, --config.llm.lora.steps is 0\n" in capsys.readouterr().out
    assert not (finished / "lora").exists()


def test_labels_by_a_rule_need_no_adapter(copy, capsys):
    def change(config):
        config.llm.lora.steps, config.audit.enabled, config.labelling.source = 3, False, "popularity"
        few(config)

    again(copy, ("lora", "label", "pretrain", "adapt", "report"), change, overwrite=True)
    said = capsys.readouterr().out
    assert "lora: not needed, --config.labelling.source=popularity and no audit\n" in said
    assert not (copy / "lora").exists()
    assert store.read_manifest(copy / "labels")["source"] == "popularity"


def test_an_agent_that_replays_labels_is_run_again_with_other_labels(copy):
    def only(config):
        config.adapt.agents = "rlpd,ialp"

    again(copy, ("adapt",), only, overwrite=True)
    curves, _ = store.load(copy / "adapt" / "rlpd")
    assert np.isfinite(curves["return"]).all()
    np.testing.assert_array_equal(
        curves["return"][:, 0], store.load(copy / "adapt" / "ialp")[0]["return"][:, 0]
    )
    arrays, manifest = store.load(copy / "labels")
    arrays["choice"] = np.where(arrays["choice"] > 0, 1, arrays["choice"])
    store.write_arrays(copy / "labels" / "arrays.npz", arrays)
    store.seal(copy / "labels", {k: v for k, v in manifest.items() if k != "files"})
    config = tiny()
    only(config)
    run = Run.open(copy, config, overwrite=True)
    assert not run.is_done("adapt/rlpd", fingerprint(run, "adapt/rlpd"))
    assert run.is_done("adapt/ialp", fingerprint(run, "adapt/ialp"))


def joined(config):
    config.labelling.source, config.labelling.calibration = "llm+log_model", "logistic"
    config.labelling.calibration_questions = 30


def test_a_killed_label_stage_with_a_calibration_ends_with_the_same_bits(copy, tmp_path, monkeypatch):
    shutil.copytree(copy, tmp_path / "killed")
    again(copy, ("label",), joined, overwrite=True)
    arrays, manifest = store.load(copy / "labels")
    assert (copy / "labels" / "log_model" / "model.safetensors").stat().st_size > 1000
    assert manifest["counts"]["prompts"] == len(arrays["choice"]) == 2 * 2 * 8
    assert manifest["counts"]["none"] == int((arrays["choice"] == 0).sum())
    assert [record["questions"] for record in manifest["likes"]["rounds"]] == [30, 30]
    assert {"llm", "log_model", "log_popularity"} < manifest["likes"]["rounds"][0]["coefficients"].keys()
    dataset = load_dataset(copy / "data")
    training, held_out = split_offline(dataset, tiny().llm.embedded.holdout, tiny().seed)
    likes = np.diff(dataset.histories.offsets)
    assert manifest["others"]["log_model"]["log_model"]["users"] == np.sum(likes[training] > 1)
    assert manifest["likes"]["rounds"][0]["users"] <= np.sum(likes[held_out] > 1) < len(training)
    answers, calls = LabelStore.answers, []

    def killed(self, prompts, compute):
        calls.append(len(prompts.histories))
        if len(calls) in (1, 3, 7):  # in the first calibration, the first round, the second calibration
            raise KeyboardInterrupt
        return answers(self, prompts, compute)

    for _ in range(3):
        monkeypatch.setattr(LabelStore, "answers", killed)
        with pytest.raises(KeyboardInterrupt):
            again(tmp_path / "killed", ("label",), joined, overwrite=True)
    monkeypatch.setattr(LabelStore, "answers", answers)
    again(tmp_path / "killed", ("label",), joined, overwrite=True)
    resumed, facts = store.load(tmp_path / "killed" / "labels")
    assert resumed.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(resumed[name], array)
    assert facts["likes"] == manifest["likes"]
    assert facts["asked"] == manifest["asked"]  # no prompt was asked again after a kill


def test_the_llm_answers_a_prompt_of_a_calibrated_run_only_once(copy, monkeypatch):
    again(copy, ("label",), joined, overwrite=True)
    before = store.load(copy / "labels")[0]

    def forbidden(*args, **kwargs):
        raise AssertionError("the LLM was started")

    monkeypatch.setattr("ialp_jax.labelling.worker_process.subprocess.Popen", forbidden)
    (copy / "labels" / "manifest.json").unlink()
    again(copy, ("label",), joined, overwrite=True)
    for name, array in store.load(copy / "labels")[0].items():
        np.testing.assert_array_equal(array, before[name])


def test_calibrated_labels_of_a_log_model_need_no_llm_and_reach_the_report(copy, monkeypatch, capsys):
    def change(config):
        joined(config)
        config.labelling.source, config.audit.enabled = "log_model", False
        few(config)

    def forbidden(*args, **kwargs):
        raise AssertionError("the LLM was started")

    monkeypatch.setattr("ialp_jax.labelling.worker_process.subprocess.Popen", forbidden)
    again(copy, ("label", "pretrain", "adapt", "report"), change, overwrite=True)
    arrays, manifest = store.load(copy / "labels")
    assert manifest["source"] == "log_model"
    np.testing.assert_allclose(arrays["probability"], 1 / (1 + np.exp(-arrays["scores"])), rtol=1e-5)
    assert "log-odds of a like, log_model" in capsys.readouterr().out
    assert "Observed share of likes over predicted probability" in (copy / "report/index.html").read_text()


def test_labels_of_another_source_need_no_llm(copy, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("the LLM was started")

    monkeypatch.setattr("ialp_jax.labelling.worker_process.subprocess.Popen", forbidden)
    before, _ = store.load(copy / "labels")
    for source in ("popularity", "logged", "truth", "log_model"):
        again(copy, ("label",), lambda c, s=source: setattr(c.labelling, "source", s), overwrite=True)
        arrays, manifest = store.load(copy / "labels")
        assert arrays.keys() == before.keys()
        assert manifest["source"] == source
        assert manifest["counts"]["none"] == int((arrays["choice"] == 0).sum())
        assert not np.array_equal(arrays["scores"], before["scores"])
    likes = load_dataset(copy / "data").histories
    starts = offline_windows(load_dataset(copy / "data"), tiny().simulator.history_length, 0)
    again(copy, ("label",), lambda c: setattr(c.labelling, "source", "logged"), overwrite=True)
    arrays, _ = store.load(copy / "labels")
    first = arrays["round"] == 0
    for row in np.flatnonzero(first & (arrays["choice"] > 0))[:20]:
        item = arrays["candidates"][row][arrays["choice"][row] - 1]
        start = arrays["shown"][row][: arrays["histories"].shape[1]]
        owners = starts.user[(starts.history == start).all(1)]
        assert any(item in likes.of(owner) for owner in owners)


def test_a_source_from_which_no_agent_starts_is_not_pretrained(finished, tmp_path, capsys):
    start_from(finished, tmp_path)
    shutil.rmtree(tmp_path / "pretrain")
    run = Run.open(tmp_path, tiny(), overwrite=True)
    run.config.adapt.agents = "random,a2c"
    stages.run_stages(run, ("pretrain",))
    assert "no agent starts from it" in capsys.readouterr().out
    run.config.adapt.agents = "a2c_warm,a2c"
    stages.run_stages(run, ("pretrain",))
    assert [path.name for path in (tmp_path / "pretrain").iterdir()] == ["a2c_warm"]
    for name in ("params/manifest.ocdbt", "arrays.npz"):
        assert (tmp_path / "pretrain/a2c_warm" / name).is_file()
    kept, _ = store.load(finished / "pretrain" / "a2c_warm")
    alone, _ = store.load(tmp_path / "pretrain" / "a2c_warm")
    np.testing.assert_array_equal(alone["return"], kept["return"])


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("labelling.rounds", {"ialp", "ialp_soft"}),
        ("pretrain.ialp_updates", {"ialp"}),
        ("pretrain.soft_updates", {"ialp_soft"}),
        ("pretrain.warm_updates", {"a2c_warm"}),
        ("pretrain.sasrec_updates", {"sasrec"}),
        ("pretrain.batch_size", set(NEEDS)),
        ("network.width", set(NEEDS)),
    ],
)
def test_a_setting_redoes_only_the_pretraining_that_reads_it(finished, copy, setting, changed):
    def fingerprints(config):
        run = Run(copy, config)
        return {name: fingerprint(run, f"pretrain/{name}") for name in NEEDS}

    config = replaced(tiny(), {setting: 8})
    if setting == "labelling.rounds":  # other labels
        arrays, manifest = store.load(copy / "labels")
        arrays["choice"] = np.zeros_like(arrays["choice"])
        store.write_arrays(copy / "labels" / "arrays.npz", arrays)
        store.seal(copy / "labels", {k: v for k, v in manifest.items() if k != "files"})
    before = {n: store.read_manifest(finished / "pretrain" / n)["fingerprint"] for n in NEEDS}
    after = fingerprints(config)
    assert {name for name in NEEDS if before[name] != after[name]} == changed


def test_a_missing_stage_is_named(tmp_path):
    for stage, needed in (("simulate", "data"), ("label", "data"), ("pretrain", "data"), ("adapt", "data")):
        with pytest.raises(InputError, match=f"--stage={needed}"):
            again(tmp_path / stage, (stage,))


def test_agents_that_need_no_labels_run_without_them(copy):
    for name in ("labels", "pretrain", "adapt"):
        shutil.rmtree(copy / name)
    again(copy, ("adapt",), lambda config: setattr(config.adapt, "agents", "random,oracle"), overwrite=True)
    assert sorted(path.name for path in (copy / "adapt").iterdir()) == ["oracle", "random"]


def test_the_report_contains_the_agents_of_the_run_and_nothing_stale(copy):
    def fewer(config):
        config.adapt.agents = "random,a2c"

    again(copy, ("report",), fewer, overwrite=True)
    assert set(pd.read_csv(copy / "report" / "summary.csv").agent) == {"random", "a2c"}

    def other(config):
        config.agents.a2c.discount = 0.5

    with pytest.raises(InputError, match=r"adapt/a2c was made with other .*a2c.discount: .* -> 0.5"):
        again(copy, ("report",), other, overwrite=True)


@pytest.mark.slow
def test_agents_can_be_evaluated_in_a_world_with_another_user_model(tmp_path):
    def change(config):
        config.simulator.test_model = "implicit_mf"
        config.simulator.user_model.factors = "4"
        config.simulator.user_model.regularisation = "10"
        config.simulator.user_model.confidence = "20"
        config.adapt.agents = "random,oracle"

    again(tmp_path, ("data", "simulate", "adapt"), change)
    config = tiny()
    change(config)
    training, evaluation = common.read_worlds(Run(tmp_path, config))
    factors = [world.params.user_model.item_factors for world in (training, evaluation)]
    assert not np.array_equal(*factors)
    metrics = pd.read_csv(tmp_path / "simulator" / "worlds.csv").metric
    assert {"auc", "test_model_auc", "test_model_ece"} <= set(metrics)
    best = store.load(tmp_path / "adapt" / "oracle")[0]["return"].mean()
    assert best > store.load(tmp_path / "adapt" / "random")[0]["return"].mean()


def test_a_world_that_fails_a_check_gives_a_warning(tmp_path, capsys):
    again(tmp_path, ("data", "simulate"), lambda config: setattr(config.simulator, "horizon", 1))
    table = pd.read_csv(tmp_path / "simulator" / "worlds.csv")
    checks = world_checks(dict(zip(table.metric, table.value, strict=True)))
    said = capsys.readouterr()
    assert [check.holds for check in checks].count(False) > 0, "one step does not tell policies apart"
    for check in checks:
        assert (f"doubtful world, it fails that {check.demand}" in said.out + said.err) != check.holds


@pytest.mark.parametrize(("knob", "value"), [("candidates", 61), ("candidates", 50)])
def test_more_candidates_than_items_are_refused(tmp_path, knob, value):
    with pytest.raises(InputError, match="items"):
        again(tmp_path, ("data",), lambda config: setattr(config.labelling, knob, value))


def test_only_evaluation_users_take_part_in_evaluation(finished):
    run = Run(finished, tiny())
    world, evaluation = common.read_worlds(run)
    assert evaluation is world
    assert set(np.asarray(world.of(EVALUATION).users)) == set(world.dataset.users(EVALUATION))
    assert dataclasses.is_dataclass(world)

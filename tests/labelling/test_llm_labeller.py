import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import recipe, save, titles

from ialp_jax.errors import InputError
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes.answers import CAUSES
from ialp_jax.types import Prompts


def settings(**changes):
    return LLMConfig(**{"threads": 1, "dtype": "float32", "shard_size": 8, "embedded": recipe(), **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that trained the embedded model and labelled two requests. Tests must not change it."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("run")
    data = save(folder)
    with LLMLabeller(settings(), data, folder / "labels", seed=0) as worker:
        labels = [worker.label(draw(20, seed=1)), worker.label(draw(20, seed=2))]
        manifest = worker.manifest()
        assert worker._process is not None
    return folder, labels, manifest


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished run's folder that a test may change."""
    return shutil.copytree(finished[0], tmp_path / "run")


def ask(folder, config, *requests, seed=0):
    with LLMLabeller(config, folder / "data", folder / "labels", seed=seed) as worker:
        labels = [worker.label(request) for request in requests]
        return labels, worker.manifest(), worker._process is not None


REQUESTS = [draw(20, seed=1), draw(20, seed=2)]


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype


def test_labels_and_manifest_agree(finished):
    _, labels, manifest = finished
    for (histories, candidates, _), label in zip(REQUESTS, labels, strict=True):
        np.testing.assert_array_equal(label.histories, histories)
        np.testing.assert_array_equal(label.candidates, candidates)
        assert label.scores.dtype == np.float32
        assert label.choice.dtype == np.int32
        taken = label.choice > 0
        np.testing.assert_array_equal(label.choice[taken] - 1, label.scores[taken].argmax(1))
        assert (label.scores < 0).all()
    choices = np.concatenate([label.choice for label in labels])
    assert manifest["counts"] == {
        "prompts": 40,
        "valid": 40,
        "none": int((choices == 0).sum()),
        "invalid": dict.fromkeys(CAUSES[1:], 0),
    }
    assert 0 < manifest["counts"]["none"] < 40
    assert manifest["tokens"] > 0
    assert manifest["seconds"] > 0
    assert manifest["training"]["steps"] == 3
    assert manifest["threshold"] is not None
    assert manifest["model"] == "embedded"
    assert manifest["mode"] == "likelihood"
    assert len(manifest["template_sha256"]) == 64


def test_evidence_is_the_gain_over_an_empty_history_and_is_counted_only_on_request(finished, again):
    with LLMLabeller(settings(), again / "data", again / "labels", seed=0) as labeller:
        gains = labeller.evidence(REQUESTS[0], counted=False)
        labels = labeller.label(REQUESTS[1])
        assert labeller.manifest()["counts"]["prompts"] == 20
        labeller.evidence(REQUESTS[0], counted=True)
        assert labeller.manifest()["counts"]["prompts"] == 40
        assert labeller._process is None  # the store has all answers, also those to uncounted prompts
    (path,) = (again / "labels" / "calibration").glob("*/arrays.npz")
    unconditional = np.load(path)["unconditional"][REQUESTS[0].candidates]
    np.testing.assert_array_equal(gains, finished[1][0].scores.astype(np.float64) - unconditional)
    assert gains.dtype == np.float64
    assert_equal([labels], [finished[1][1]])


def test_the_evidence_of_an_invalid_answer_is_not_a_number(again):
    with LLMLabeller(settings(), again / "data", again / "labels", seed=0) as labeller:
        labeller.label(REQUESTS[0])
        answer = labeller._store.answers

        def spoilt(prompts, compute):
            answers, batches = answer(prompts, compute)
            cause = np.arange(len(answers.cause)) % 2
            return answers._replace(cause=cause.astype(np.uint8)), batches

        labeller._store.answers = spoilt
        gains = labeller.evidence(REQUESTS[0], counted=False)
    assert np.isnan(gains[1::2]).all()
    assert np.isfinite(gains[0::2]).all()


def test_a_complete_store_needs_no_worker(finished, again, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    labels, manifest, started = ask(again, settings(), *REQUESTS)
    assert not started
    assert_equal(labels, finished[1])
    assert manifest == finished[2]


def test_a_restarted_run_gives_the_same_bits(finished, again):
    shutil.rmtree(again / "labels" / "shards")
    weights = again / "labels" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"model\.safetensors: altered .*; the model is trained again"):
        labels, manifest, _ = ask(again, settings(), *REQUESTS)
    assert_equal(labels, finished[1])
    assert manifest["fingerprint"] == finished[2]["fingerprint"]


def test_lost_shards_and_an_altered_calibration_are_computed_again(finished, again):
    for path in sorted((again / "labels" / "shards").rglob("*.npz"))[:3]:
        path.unlink()
    (path,) = (again / "labels" / "calibration").glob("*/arrays.npz")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="the model is calibrated again"):
        labels, _, started = ask(again, settings(), *REQUESTS)
    assert started
    assert_equal(labels, finished[1])


@pytest.mark.parametrize(
    ("changes", "seed", "same"),
    [
        ({}, 0, True),
        ({"batch_size": 3}, 0, True),
        ({}, 1, False),
        ({"template": "list"}, 0, False),
        ({"embedded": recipe(steps=4)}, 0, False),
    ],
)
def test_another_recipe_is_another_model(again, changes, seed, same):
    with LLMLabeller(settings(**changes), again / "data", again / "labels", seed=seed) as worker:
        assert worker._is_trained() == same


def test_no_label_is_none_under_the_rule_never(finished, again):
    labels, manifest, _ = ask(again, settings(none_rule="never"), *REQUESTS)
    assert manifest["threshold"] is None
    assert manifest["counts"]["none"] == 0
    for label, before in zip(labels, finished[1], strict=True):
        np.testing.assert_array_equal(label.scores, before.scores)


def test_another_run_does_not_ask_the_prompts_of_a_shared_store(finished, model_folder, tmp_path):
    config = settings(model=str(model_folder), store=str(tmp_path / "shared"))
    (tmp_path / "one").mkdir()
    save(tmp_path / "one")
    first, manifest, _ = ask(tmp_path / "one", config, *REQUESTS)
    assert (manifest["asked"], manifest["taken"]) == (40, 0)
    assert not (tmp_path / "one" / "labels" / "shards").exists()
    assert (tmp_path / "shared" / manifest["context"] / "context.json").exists()
    shutil.copytree(tmp_path / "one" / "data", tmp_path / "two" / "data")
    shutil.copytree(tmp_path / "one" / "labels" / "calibration", tmp_path / "two" / "labels" / "calibration")
    second, manifest, started = ask(tmp_path / "two", config, *REQUESTS[::-1])
    assert not started
    assert (manifest["asked"], manifest["taken"], manifest["tokens"]) == (0, 40, 0)
    assert_equal(second[::-1], first)
    mean_labels, manifest, _ = ask(
        tmp_path / "two", dataclasses.replace(config, normalise="mean"), REQUESTS[0]
    )
    assert (manifest["asked"], manifest["taken"]) == (20, 0)
    assert not np.array_equal(mean_labels[0].scores, first[0].scores)


def test_a_store_that_cannot_be_a_folder_is_refused_before_any_work(finished, again):
    (again / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written \(File exists\)"):
        ask(again, settings(store=str(again / "file")))


def test_a_given_model_is_used_unchanged(model_folder, tmp_path):
    data = save(tmp_path)
    config = settings(model=str(model_folder), normalise="mean")
    with LLMLabeller(config, data, tmp_path / "labels", seed=0) as worker:
        labels = worker.label(REQUESTS[0])
        manifest = worker.manifest()
    assert manifest["template"]["name"] == "list"
    assert manifest["training"] == {}
    assert not (tmp_path / "labels" / "model").exists()
    assert np.isfinite(labels.scores).all()


@pytest.mark.parametrize("chosen", ["bfloat16", "float32"])
def test_a_measured_dtype_is_in_the_manifest_and_in_the_address(model_folder, tmp_path, monkeypatch, chosen):
    """The worker measures once. A restart uses the dtype of the manifest, not a new measurement."""
    save(tmp_path)
    measured = {"bfloat16_speed": 2.5, "bfloat16_rank_correlation": 0.9975, "bfloat16_same_best": 1.0}
    patch = tmp_path / "sitecustomize.py"
    choice = f"""
import sys
if sys.argv[0] == "-m":
    from ialp_jax.llm.worker import precision
    precision.choose = lambda *args: precision.Choice({chosen!r}, {measured!r})
"""
    patch.write_text(choice)
    path = os.pathsep.join(filter(None, [str(tmp_path), *sys.path]))
    monkeypatch.setenv("PYTHONPATH", path)
    config = settings(model=str(model_folder), dtype="auto")
    labels, manifest, _ = ask(tmp_path, config, *REQUESTS)
    assert manifest["dtype"] == chosen
    assert {name: manifest[name] for name in measured} == measured
    (context,) = (tmp_path / "labels" / "shards").iterdir()
    assert f'"dtype": "{chosen}"' in (context / "context.json").read_text()
    other = {"bfloat16": "float32", "float32": "bfloat16"}[chosen]
    patch.write_text(choice.replace(chosen, other, 1))
    shutil.rmtree(context)
    again, same, started = ask(tmp_path, config, *REQUESTS)
    assert started
    assert_equal(again, labels)
    assert same["context"] == manifest["context"]
    fixed, explicit, _ = ask(tmp_path, dataclasses.replace(config, dtype=chosen), *REQUESTS)
    assert_equal(fixed, labels)
    assert explicit["context"] == manifest["context"]  # the same answers
    assert "bfloat16_speed" not in explicit
    mixed, differing, _ = ask(tmp_path, dataclasses.replace(config, dtype=other), *REQUESTS)
    assert differing["context"] != manifest["context"]
    assert not np.array_equal(mixed[0].scores, labels[0].scores)


def test_the_worker_measures_the_dtype_of_a_given_model(model_folder, tmp_path, monkeypatch):
    save(tmp_path)
    (tmp_path / "sitecustomize.py").write_text("""
import sys
if sys.argv[0] == "-m":
    from ialp_jax.llm.worker import precision
    precision.SMALLEST = 0
""")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), *sys.path])))
    _, manifest, _ = ask(tmp_path, settings(model=str(model_folder), dtype="auto"), REQUESTS[0])
    assert manifest["bfloat16_speed"] > 0
    if manifest["dtype"] == "bfloat16":
        agree = manifest["bfloat16_rank_correlation"] >= 0.99 or manifest["bfloat16_same_best"] == 1
        assert manifest["bfloat16_speed"] >= 1.2
        assert agree


def test_the_embedded_model_keeps_its_bits_under_auto(finished, again):
    shutil.rmtree(again / "labels" / "shards")
    labels, manifest, started = ask(again, settings(dtype="auto"), *REQUESTS)
    assert started
    assert_equal(labels, finished[1])
    assert manifest["dtype"] == "float32"
    assert manifest["context"] == finished[2]["context"]
    assert "bfloat16_speed" not in manifest


def test_a_model_of_nan_gives_invalid_labels(model_folder, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    broken = shutil.copytree(model_folder, tmp_path / "broken")
    weights = safetensors.load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    safetensors.save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    save(tmp_path)
    labels, manifest, _ = ask(tmp_path, settings(model=str(broken)), REQUESTS[0])
    assert (labels[0].choice == -1).all()
    causes = {**dict.fromkeys(CAUSES[1:], 0), "non_finite": 20}
    assert manifest["counts"] == {"prompts": 20, "valid": 0, "none": 0, "invalid": causes}


def test_an_error_in_the_worker_is_one_line_in_the_client(model_folder, tmp_path):
    broken = shutil.copytree(model_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not weights")
    save(tmp_path)
    with pytest.raises(InputError, match=f"^{broken}: not a readable causal language model[^\n]*$"):
        ask(tmp_path, settings(model=str(broken)), REQUESTS[0])


def test_missing_torch_gives_a_one_line_error(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    save(tmp_path)
    with pytest.raises(InputError, match=r"^the label stage needs torch, .*pip install 'ialp_jax\[llm\]'"):
        ask(tmp_path, settings(), REQUESTS[0])


def test_missing_data_and_models_are_reported_before_any_work(tmp_path):
    with pytest.raises(InputError, match="run its stage again"):
        ask(tmp_path, settings())
    save(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        ask(tmp_path, settings(model="/no/such/model"))


HISTORIES, CANDIDATES, _ = draw(3)


@pytest.mark.parametrize(
    "request_",
    [
        (HISTORIES[:2], CANDIDATES),
        (HISTORIES, CANDIDATES[:, :0]),
        (HISTORIES, CANDIDATES + len(titles())),
        (HISTORIES, CANDIDATES * 0),
        (HISTORIES - 100, CANDIDATES),
    ],
)
def test_impossible_requests_are_refused(again, request_):
    with pytest.raises(ValueError, match=r"not \[P, L\]|no candidates|item ids outside"):
        ask(again, settings(), Prompts(*request_))


def test_a_worker_killed_during_an_order_gives_a_one_line_error(again):
    with LLMLabeller(settings(), again / "data", again / "labels", seed=0) as worker:
        worker.label(draw(5, seed=3))
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(InputError, match=r"^the LLM worker was killed; the memory may have run out$"):
            worker.label(draw(5, seed=4))


PARENT = """
import sys, time
from pathlib import Path
data, labels = map(Path, sys.argv[1:])
from small_world import prompts
from test_llm_labeller import settings
from ialp_jax.llm.modes.answers import CAUSES
from ialp_jax.labelling.llm_labeller import LLMLabeller
with LLMLabeller(settings(), data, labels, 0) as worker:
    worker.label(prompts(5, seed=9))
    print(worker._process.pid, flush=True)
    time.sleep(600)
"""


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks up processes in /proc")
def test_the_worker_dies_with_its_parent(finished, again):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, again / "data", again / "labels"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    pid = int(parent.stdout.readline())
    assert _alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def test_all_settings_reach_the_worker():
    config = settings()
    assert LLMConfig.from_dict(dataclasses.asdict(config)) == config

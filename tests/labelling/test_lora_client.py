"""Tests LoRA and its adapter through the worker process, as the stages use them."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import recipe, save

pytest.importorskip("torch")
pytest.importorskip("peft")

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.labelling import lora_client
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm import adapter_files
from ialp_jax.llm.config import LLMConfig, LoraConfig

STEPS = 40


def settings(model="", steps=STEPS, adapter="", **lora):
    knobs = {"steps": steps, "batch_size": 4, "learning_rate": 0.02, "rank": 4, "save_every": 2, **lora}
    return LLMConfig(
        model=str(model), threads=1, embedded=recipe(), adapter=str(adapter), lora=LoraConfig(**knobs)
    )


def run_lora(folder, config):
    with lora_client.LoraClient(config, folder / "data", folder / "labels", seed=0) as worker:
        manifest = worker.fine_tune(folder / "lora", history_length=5, num_candidates=4)
    store.seal(folder / "lora", manifest)
    return manifest


def label(folder, config):
    with LLMLabeller(config, folder / "data", folder / "labels", seed=0) as worker:
        return worker.label(draw(12)), worker.manifest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that trained and fine-tuned the embedded model; tests must not change it."""
    folder = tmp_path_factory.mktemp("run")
    save(folder)
    return folder, run_lora(folder, settings())


@pytest.fixture
def again(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def weights(folder):
    return (folder / "lora" / adapter_files.WEIGHTS).read_bytes()


def test_the_manifest_describes_the_fine_tuning(finished):
    folder, manifest = finished
    files = store.verify(folder / "lora")["files"]
    assert sorted(files) == [adapter_files.CONFIG, adapter_files.WEIGHTS]
    log = manifest["fine_tuning"]
    assert (log["steps"], log["history_length"], log["num_candidates"]) == (STEPS, 5, 4)
    assert len(log["loss"]) == STEPS
    assert log["held_out"]["chance"] == 0.25
    assert log["users"] + log["held_out"]["users"] == 40
    assert (folder / "labels" / "model" / "model.safetensors").exists()


CHILD = """
import sys
from pathlib import Path
from test_lora_client import run_lora, settings
run_lora(Path(sys.argv[1]), settings())
"""


@pytest.mark.slow
def test_a_killed_and_restarted_fine_tuning_gives_the_same_bits(finished, again):
    """SIGKILL ends the client and its worker after the first checkpoint."""
    shutil.rmtree(again / "lora")
    checkpoint = again / "lora" / "checkpoint.safetensors"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", CHILD, again], env=env, start_new_session=True)
    while child.poll() is None and not checkpoint.exists():
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert checkpoint.exists(), "the fine-tuning must be killed before its end"
    manifest = run_lora(again, settings())
    assert weights(again) == weights(finished[0])
    assert manifest["fine_tuning"]["loss"] == finished[1]["fine_tuning"]["loss"]
    assert manifest["fine_tuning"]["held_out"] == finished[1]["fine_tuning"]["held_out"]


@pytest.mark.slow
def test_labels_with_an_adapter_differ_from_those_without(again):
    plain, without = label(again, settings(steps=0))
    trained_labels, manifest = label(again, settings())
    assert without["adapter"] == without["adapter_use"] == ""
    assert manifest["adapter"] == adapter_files.fingerprint(again / "lora")
    assert manifest["fingerprint"] != without["fingerprint"]
    assert np.abs(trained_labels.scores - plain.scores).max() > 0.01
    given_labels, given_manifest = label(again, settings(steps=0, adapter=again / "lora"))
    np.testing.assert_array_equal(given_labels.scores, trained_labels.scores)
    assert given_manifest["fingerprint"] == manifest["fingerprint"]
    attached = settings()
    attached.adapter_use = "attach"
    attached_labels, third = label(again, attached)
    np.testing.assert_allclose(attached_labels.scores, trained_labels.scores, atol=1e-3)
    assert third["fingerprint"] != manifest["fingerprint"]


def test_labelling_needs_a_finished_adapter(again):
    (again / "lora" / store.MANIFEST).unlink()
    with pytest.raises(InputError, match=r"/lora: missing or not finished; run --stage=lora first"):
        label(again, settings())


def test_an_adapter_of_another_base_model_is_refused(again, model_folder, tmp_path):
    message = (
        r"^[^\n]*lora: an adapter of another base model \(.*labels/model\) than [^\n]*; give its own model"
    )
    with pytest.raises(InputError, match=message):
        label(again, settings(model=model_folder, steps=0, adapter=again / "lora"))


def test_a_broken_adapter_is_reported_before_any_work(tmp_path):
    save(tmp_path)
    config = settings(steps=0, adapter=tmp_path / "none")
    with (
        pytest.raises(InputError, match="no such folder"),
        LLMLabeller(config, tmp_path / "data", tmp_path / "labels", 0),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"save_every": 9}, True),
        ({"rank": 9}, False),
        ({"model": "m"}, False),
        ({"adapter": "a"}, True),
    ],
)
def test_only_some_settings_change_an_adapter(changes, same):
    assert (lora_client.settings(settings(**changes)) == lora_client.settings(settings())) == same
    config = settings()
    config.batch_size, config.none_rule = 7, "never"
    assert lora_client.settings(config) == lora_client.settings(settings())

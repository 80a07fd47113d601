"""Runs LoRA, labelling and audit in every mode, with an LLM in the layout of Mistral-7B-Instruct."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import mistral_layout

from experiments import stages
from experiments.configs import smoke
from experiments.run import Run
from ialp_jax import store
from ialp_jax.llm import adapter_files

pytestmark = pytest.mark.slow

PROMPTS = 2 * 4 * 2  # rounds, sessions, steps


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model folder; tests must not change it."""
    return mistral_layout.build(tmp_path_factory.mktemp("hub") / "Mistral-7B-Instruct-v0.3")


def settings(published, mode="choice"):
    config = smoke.get_config()
    config.labelling.sessions, config.labelling.steps = 4, 2
    config.audit.users, config.audit.negatives = 6, 8
    config.llm.model, config.llm.pad_token = str(published), "</s>"
    config.llm.mode, config.llm.threads = mode, 1
    config.llm.lora.steps, config.llm.lora.batch_size, config.llm.lora.rank = 3, 2, 2
    return config


@pytest.fixture(scope="module")
def world(published, tmp_path_factory):
    """A run whose data and simulate stages are done. Tests must not change it."""
    folder = tmp_path_factory.mktemp("layout") / "run"
    stages.run_stages(Run.open(folder, settings(published), overwrite=False), ["data", "simulate"])
    return folder


@pytest.mark.parametrize("mode", ["choice", "likelihood", "generate"])
def test_the_model_is_fine_tuned_asked_and_audited(published, world, tmp_path, mode):
    folder = shutil.copytree(world, tmp_path / "run")
    run = Run.open(folder, settings(published, mode), overwrite=True)
    stages.run_stages(run, ["lora", "label", "audit"])

    log = store.read_manifest(folder / "lora")["fine_tuning"]
    assert len(log["loss"]) > 0
    assert np.isfinite([log["held_out"][name] for name in ("loss_before", "loss_after")]).all()
    weights = list((folder / "lora").rglob(adapter_files.WEIGHTS))
    assert len(weights) == 1
    assert adapter_files.WEIGHTS.endswith(".safetensors")

    labels, manifest = store.load(folder / "labels")
    assert manifest["model"] == str(published)
    assert manifest["adapter"], "labels of the fine-tuned model"
    assert labels["choice"].shape == (PROMPTS,)
    assert np.isfinite(labels["scores"][labels["choice"] >= 0]).all()

    table = pd.read_csv(folder / "audit" / "labels.csv").set_index(["source", "metric"])
    invalid = table.loc[("llm", "invalid_share"), "value"]
    if mode != "generate":  # a random model rarely writes a letter
        assert (labels["choice"] >= 0).all()
        assert invalid == 0
        assert 0 <= table.loc[("llm", "auc"), "value"] <= 1
    assert table.loc[("llm", "users"), "value"] == 6

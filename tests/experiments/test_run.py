"""Run folders: settings, finished parts, and errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.config import Config
from experiments.run import FINGERPRINT, Run, difference, settings
from experiments.stages.recipes import fingerprint
from experiments.study.settings import Study
from experiments.study.study_results import identity, pair_key
from ialp_jax import store
from ialp_jax.claim import RUN, claim
from ialp_jax.errors import InputError


def test_a_new_folder_holds_its_configuration(tmp_path):
    Run.open(tmp_path / "r", Config(num_seeds=4), overwrite=False)
    assert json.loads((tmp_path / "r" / "config.json").read_text()) == settings(Config(num_seeds=4))


def test_a_folder_without_a_part_takes_corrected_settings(tmp_path):
    Run.open(tmp_path, Config(), overwrite=False)
    (tmp_path / "data").mkdir()
    Run.open(tmp_path, Config(num_seeds=5), overwrite=False)
    assert json.loads((tmp_path / "config.json").read_text())["num_seeds"] == 5


def test_the_same_settings_open_again(tmp_path):
    Run.open(tmp_path, Config(), overwrite=False)
    assert Run.open(tmp_path, Config(), overwrite=False).folder == tmp_path


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_broken_configuration_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json"):
        Run.open(tmp_path, Config(), overwrite=False)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Run.open(tmp_path / "file" / "run", Config(), overwrite=False)


def test_a_done_stage_whose_files_were_altered_is_an_error(tmp_path):
    run = Run.open(tmp_path, Config(), overwrite=False)
    store.save(tmp_path / "labels", {"y": np.ones(2)}, {FINGERPRINT: "k"})
    (tmp_path / "labels" / "arrays.npz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"arrays\.npz"):
        run.is_done("labels", "k")


def test_a_part_of_an_earlier_version_has_its_fingerprint_under_another_name(tmp_path):
    run = Run.open(tmp_path, Config(), overwrite=False)
    store.save(tmp_path / "labels", {"y": np.ones(2)}, {"key": "f"})
    assert run.is_done("labels", "f")
    assert not run.is_done("labels", "other")


def test_difference_names_new_and_missing_settings():
    assert difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 1}, "d": 3}) == "c: 2 -> None, d: None -> 3"


def test_the_run_folder_contains_the_values_of_the_preset():
    config = Config()
    config.simulator.preset = "hard"
    config.simulator.patience = 3.0
    stated = settings(config)["simulator"]
    assert (stated["patience"], stated["recovery"], stated["dynamics"]["satiation_memory"]) == (3.0, 0.5, 0.9)
    assert config.simulator.recovery is None
    assert "simulator.recovery: 1.0 -> 0.5" in difference(settings(Config()), settings(config))


def test_checkpoints_tensorboard_devices_and_the_cache_are_not_settings_of_a_result(tmp_path):
    Run.open(tmp_path, Config(), overwrite=False)
    store.save(tmp_path / "data", {"x": np.zeros(2)}, {})
    other = Config(tensorboard=False, compilation_cache="off")
    other.checkpoint.every, other.checkpoint.keep, other.checkpoint.seconds = 0, 7, 1.0
    run = Run.open(tmp_path, other, overwrite=False)
    store.save(tmp_path / "simulator", {"x": np.zeros(2)}, {})
    assert fingerprint(run, "adapt/random") == fingerprint(Run(tmp_path, Config()), "adapt/random")
    assert pair_key(settings(other), "ialp") == pair_key(settings(Config()), "ialp")
    assert identity(Study(tensorboard=False, compilation_cache="")) == identity(Study())


def test_a_part_whose_folder_cannot_be_made_is_one_line(tmp_path):
    claim(tmp_path, RUN)
    (tmp_path / "data").write_text("in the way")
    command = ["-m", "experiments.main", "--config=experiments/configs/smoke.py", f"--workdir={tmp_path}"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {tmp_path}/data\S*: cannot be [^\n]+\n", done.stderr), done.stderr
    assert (tmp_path / "data").read_text() == "in the way"

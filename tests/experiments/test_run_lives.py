"""If a run was killed, the same command finishes it, with the same bits as an undisturbed run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import run_lives

from ialp_jax.training.params import load_params

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lives")
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_NUM_CPU_DEVICES": "2",  # one device per seed
    }
    script = Path(run_lives.__file__)
    done = subprocess.run([sys.executable, script, folder], env=env, stdout=subprocess.PIPE, check=True)
    return folder, json.loads(done.stdout.splitlines()[-1])


def results(folder):
    """Every array and table of a run."""
    contents = {}
    for path in sorted(folder.rglob("*.npz")):
        part = str(path.relative_to(folder))
        if not part.startswith(("labels/plans", "labels/shards")):  # random names and times
            contents |= {f"{part}/{name}": array for name, array in np.load(path).items()}
    for path in sorted(folder.rglob("*.csv")):
        contents[str(path.relative_to(folder))] = path.read_bytes()
    for path in sorted((folder / "adapt").rglob("*.safetensors")):
        contents[str(path.relative_to(folder))] = path.read_bytes()
    contents["model"] = (folder / "labels" / "model" / "model.safetensors").read_bytes()
    return contents


def parameters(folder):
    import orbax.checkpoint as ocp

    path = folder / "pretrain" / "ialp" / "params"
    with ocp.StandardCheckpointer() as reader:
        return load_params(path, reader.metadata(path).item_metadata.tree)


def assert_same(one, other):
    import jax

    expected, actual = results(one), results(other)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, parameters(one), parameters(other))


def test_runs_killed_at_random_moments_end_with_the_bits_of_an_undisturbed_one(lives):
    folder, summary = lives
    assert summary["calm"] == 0
    assert len(summary["killed"]) == len(run_lives.PLAN) >= 12
    assert len(set(summary["killed"])) >= 6, summary["killed"]
    for run in folder.glob("killed*/"):
        assert_same(folder / "calm", run)
        log = run.with_suffix(".log").read_text()
        assert "damaged" not in log
        assert "Traceback" not in log
        assert not any((run / "checkpoints").rglob("recipe"))


def test_a_run_that_is_asked_to_end_saves_a_checkpoint_and_goes_on(lives):
    folder, summary = lives
    assert summary["asked"] == [143, 143, 143, 2, 0]
    assert_same(folder / "calm", folder / "asked")
    log = (folder / "asked.log").read_text()
    assert "Traceback" not in log
    lines = [line for line in log.splitlines() if line.startswith("terminated:")]
    assert len(lines) == 3
    assert "checkpoints/pretrain/" in lines[1]
    assert "checkpoints/adapt/dqn: saved at step" in lines[2]
    assert all(line.endswith("the same command continues from there") for line in lines)


def test_a_full_disk_is_one_line_and_the_run_goes_on_from_its_last_checkpoint(lives):
    log = (lives[0] / "asked.log").read_text()
    lines = [line for line in log.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert re.search(r"cannot be written .*too large", lines[0], re.IGNORECASE), lines
    assert list((lives[0] / "asked").rglob("*.partial")) == []


def test_no_worker_outlives_its_run(lives):
    assert lives[1]["left"] == []

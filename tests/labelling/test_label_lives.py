"""Tests label runs that are killed at random moments, and two label runs at the same time."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import lives
import numpy as np
import pytest

from ialp_jax import store
from ialp_jax.labelling import shards

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run(what, folder):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("lives.py"), what, folder],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def assert_equal(answers, expected):
    for name, array in expected._asdict().items():
        np.testing.assert_array_equal(answers[name], array)
        assert answers[name].dtype == array.dtype


def assert_intact(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for context in folder.iterdir():
            assert list(shards.scan(context, context.name))


def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path):
    counts = run("kill", tmp_path)
    assert counts["killed"] == lives.KILLS >= 20
    # A kill loses at most the batch that was being computed.
    assert lives.BATCHES <= counts["computed"] <= lives.BATCHES + lives.KILLS
    assert_equal(store.read_arrays(tmp_path / "run" / "answers.npz"), lives.label(tmp_path / "calm", None))
    assert_intact(tmp_path / "run" / "shards")


def test_a_killed_run_ends_as_an_undisturbed_one_while_other_runs_fill_the_store(tmp_path):
    some = [request.rows(slice(10, 25)) for request in lives.REQUESTS[2::2]]
    for name in ("kill", "calm"):
        lives.label(tmp_path / name / "before", tmp_path / name / "shared", some)
    counts = run("kill_shared", tmp_path / "kill")
    assert counts["killed"] == lives.KILLS
    calm = lives.label(tmp_path / "calm" / "run", tmp_path / "calm" / "shared")
    assert_equal(store.read_arrays(tmp_path / "kill" / "run" / "answers.npz"), calm)
    assert not np.array_equal(calm.scores, lives.label(tmp_path / "alone", None).scores)
    assert_intact(tmp_path / "kill" / "shared")


def test_two_runs_at_once_on_one_store(tmp_path):
    counts = run("race", tmp_path)
    assert counts["failed"] == 0
    assert lives.BATCHES <= counts["computed"] < 2 * lives.BATCHES  # both runs reuse some answers
    assert_intact(tmp_path / "shared")
    first_scores = store.read_arrays(tmp_path / "a" / "answers.npz")["scores"]
    second_scores = (
        store.read_arrays(tmp_path / "b" / "answers.npz")["scores"].reshape(8, 40, 4)[::-1].reshape(-1, 4)
    )
    np.testing.assert_allclose(first_scores, second_scores, atol=1e-2)
    ear, pipe = os.pipe()
    third = lives.label(tmp_path / "c", tmp_path / "shared", pipe=pipe).scores
    os.close(pipe)
    assert os.read(ear, 1) == b""
    assert ((third == first_scores) | (third == second_scores)).all()

"""Provenance: true of this process, and never a reason to fail."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import provenance

GIT = shutil.which("git")


@pytest.fixture(autouse=True)
def fresh():
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


@pytest.fixture
def clone(tmp_path):
    """A repository with the one file by which a clone of this project is known."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/main.py").write_text("x = 1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run([GIT, "-C", tmp_path, *command], check=True)
    return tmp_path


def test_a_record_is_of_this_process():
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=100)
    record = provenance.record(100.0)
    assert json.loads(json.dumps(record)) == record
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["jax"] == jax.__version__
    assert record["versions"]["numpy"] == np.__version__
    assert record["versions"].keys() >= {"ialp_jax", "jaxlib", "flax", "optax", "torch", "transformers"}
    device = record["device"]
    assert (device["count"], device["kind"]) == (jax.device_count(), jax.devices()[0].device_kind)
    assert record["seconds"] == 100.0
    assert abs((datetime.datetime.fromisoformat(record["began"]) - began).total_seconds()) < 5


def test_the_command_is_the_one_that_was_given(monkeypatch):
    given = ["python", "-m", "experiments.main", "--workdir=my runs/a", "--config.name=$x"]
    monkeypatch.setattr(sys, "orig_argv", given)
    assert provenance.command() == "python -m experiments.main '--workdir=my runs/a' '--config.name=$x'"


@pytest.mark.skipif(not GIT, reason="needs git")
def test_the_commit_and_whether_files_differ_from_it(clone):
    head = subprocess.run(
        [GIT, "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert provenance.commit(clone) == {"commit": head, "dirty": False}
    (clone / "runs").mkdir()
    (clone / "runs/new.txt").write_text("results are no change of the code")
    provenance.commit.cache_clear()
    assert provenance.commit(clone)["dirty"] is False
    (clone / "experiments/main.py").write_text("x = 2\n")
    provenance.commit.cache_clear()
    assert provenance.commit(clone) == {"commit": head, "dirty": True}


@pytest.mark.skipif(not GIT, reason="needs git")
def test_a_copy_inside_another_repository_is_no_clone_of_it(clone):
    inside = clone / "site-packages"
    (inside / "experiments").mkdir(parents=True)
    (inside / "experiments/main.py").write_text("x = 1\n")
    assert provenance.commit(inside) is None


@pytest.mark.parametrize("failure", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 1)])
def test_without_git_there_is_no_commit_and_no_failure(monkeypatch, failure):
    def broken(*args, **kwargs):
        raise failure

    monkeypatch.setattr(provenance.subprocess, "run", broken)
    assert provenance.record(1.0)["git"] is None


def test_outside_a_repository_there_is_no_commit(tmp_path):
    assert provenance.commit(tmp_path) is None

"""A provenance record describes this process. A failure to record it never ends a run."""

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
    """A repository with the file that identifies a clone of this project."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/main.py").write_text("x = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run([GIT, "-C", tmp_path, *command], check=True)
    return tmp_path


def test_a_record_describes_this_process():
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


def test_the_command_is_the_command_line_of_the_process(monkeypatch):
    arguments = ["python", "-m", "experiments.main", "--workdir=my runs/a", "--config.name=$x"]
    monkeypatch.setattr(sys, "orig_argv", arguments)
    assert provenance.command() == "python -m experiments.main '--workdir=my runs/a' '--config.name=$x'"


@pytest.mark.skipif(not GIT, reason="needs git")
def test_the_commit_is_recorded_with_changes_of_tracked_files(clone):
    head = subprocess.run(
        [GIT, "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert provenance.commit(clone) == {"commit": head, "dirty": False}
    (clone / "runs").mkdir()
    (clone / "runs/new.txt").write_text("results do not change the code")
    provenance.commit.cache_clear()
    assert provenance.commit(clone)["dirty"] is False
    (clone / "experiments/main.py").write_text("x = 2\n")
    provenance.commit.cache_clear()
    assert provenance.commit(clone) == {"commit": head, "dirty": True}


@pytest.mark.skipif(not GIT, reason="needs git")
def test_a_copy_inside_another_repository_has_no_commit(clone):
    inside = clone / "site-packages"
    (inside / "experiments").mkdir(parents=True)
    (inside / "experiments/main.py").write_text("x = 1\n")
    assert provenance.commit(inside) is None


@pytest.mark.parametrize("failure", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 1)])
def test_without_git_the_record_has_no_commit(monkeypatch, failure):
    def broken(*args, **kwargs):
        raise failure

    monkeypatch.setattr(provenance.subprocess, "run", broken)
    assert provenance.record(1.0)["git"] is None


def test_outside_a_repository_the_record_has_no_commit(tmp_path):
    assert provenance.commit(tmp_path) is None

"""A run folder belongs to one process at a time, and to nobody when that process has died."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import call

from experiments.runtime import lock
from ialp_jax import store
from ialp_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ("--config=experiments/configs/smoke.py", "--stage=data")
# Holds the lock of argv[1] while a grandchild sleeps: made by exec, as the LLM worker, or forked.
HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from experiments.runtime.lock import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2] == "exec":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False).pid
    else:
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
    print(os.getpid(), child, flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def holder(folder, child="exec"):
    """A process that holds the lock: its id and that of its child."""
    command = [sys.executable, "-c", HOLDER, str(folder), child]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    owner, child = map(int, process.stdout.readline().split())
    try:
        yield owner, child
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def take_soon(folder):
    """Takes the lock, trying for some seconds: a killed process is not gone at once."""
    for _ in range(100):
        try:
            with lock.locked(folder):
                return
        except InputError:
            time.sleep(0.1)
    raise AssertionError("the lock outlived its process")


def test_the_second_process_is_refused_with_the_first_ones_id_and_changes_nothing(tmp_path, capsys):
    folder = tmp_path / "run"
    with holder(folder) as (owner, _):
        ended = call(capsys, "main", *SMOKE, f"--workdir={folder}")
        assert ended.code == 2
        said = f"error: {folder} is in use by process {owner} on host {os.uname().nodename} since 20"
        assert ended.err.startswith(said)
        assert ended.err.endswith("; wait until it ends, or give another --workdir\n")
        assert ended.err.count("\n") == 1
        assert sorted(path.name for path in folder.iterdir()) == [store.MARKER, lock.LOCK]


@pytest.mark.parametrize("child", ["exec", "fork"])
def test_the_lock_dies_with_its_process_though_its_child_lives(tmp_path, child):
    with holder(tmp_path, child) as (owner, grandchild):
        with pytest.raises(InputError, match=f"process {owner} "), lock.locked(tmp_path):
            pass
        os.kill(owner, signal.SIGKILL)
        take_soon(tmp_path)
        os.kill(grandchild, 0)  # is still there


def test_it_is_given_back_at_the_end_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), lock.locked(tmp_path):
            raise RuntimeError
    with lock.locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} "):
        lock.locked(tmp_path).__enter__()


def test_a_world_of_a_running_study_is_refused_and_its_report_is_not(tmp_path, capsys):
    study = ("--config=experiments/configs/paper.py", f"--workdir={tmp_path}", "--config.worlds=smoke")
    with holder(tmp_path / "smoke") as (owner, _):
        ended = call(capsys, "main", *study, "--config.not_offline=", "--stage=data")
        assert ended.err.startswith(f"error: {tmp_path / 'smoke'} is in use by process {owner} ")
        results = f"--config.results={tmp_path / 'results'}"
        ended = call(capsys, "main", *study, "--config.not_offline=", "--stage=report", results)
        assert "config.json is missing" in ended.err


def test_the_patient_wait_for_their_turn(tmp_path):
    order, waiting = [], threading.Event()

    def patient():
        waiting.set()
        with lock.locked(tmp_path, wait=True):
            order.append("second")

    thread = threading.Thread(target=patient)
    with lock.locked(tmp_path, wait=True):
        thread.start()
        waiting.wait(10)
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("system", ["no flock on this disk", "Windows"])
def test_where_there_are_no_locks_a_warning_is_all(tmp_path, monkeypatch, system):
    class Refusing:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(file, kind):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "fcntl", None if system == "Windows" else Refusing)
    with pytest.warns(UserWarning, match="not locked"), lock.locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        ended = call(capsys, "main", *SMOKE, f"--workdir={folder}")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert f"error: {folder}: cannot be written (" in ended.err
    assert (tmp_path / "file").read_text() == "mine"

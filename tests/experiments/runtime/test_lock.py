"""Only one process at a time can use a run folder. Its lock is released when the process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
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

ROOT = Path(__file__).resolve().parents[3]
SMOKE = ("--config=experiments/configs/smoke.py", "--stage=data")
# Holds the lock of the folder argv[1] while a child process sleeps. The child is started by exec, as the LLM
# worker is, or by fork.
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
    """Starts a process that holds the lock. Yields the ids of this process and of its child."""
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
    """Tries to take the lock for some seconds, because a killed process needs a moment to end."""
    for _ in range(100):
        try:
            with lock.locked(folder):
                return
        except InputError:
            time.sleep(0.1)
    raise AssertionError("the lock outlived its process")


def test_a_second_process_is_refused_with_the_id_of_the_first(tmp_path, capsys):
    folder = tmp_path / "run"
    with holder(folder) as (owner, _):
        ended = call(capsys, "main", *SMOKE, f"--workdir={folder}")
        assert ended.code == 2
        message = f"error: {folder} is in use by process {owner} on host {os.uname().nodename} since 20"
        assert ended.err.startswith(message)
        assert ended.err.endswith("; wait until it ends, or give another --workdir\n")
        assert ended.err.count("\n") == 1
        assert sorted(path.name for path in folder.iterdir()) == [store.MARKER, lock.LOCK]


@pytest.mark.parametrize("child", ["exec", "fork"])
def test_the_lock_ends_with_its_process_even_if_a_child_lives(tmp_path, child):
    with holder(tmp_path, child) as (owner, child_id):
        with pytest.raises(InputError, match=f"process {owner} "), lock.locked(tmp_path):
            pass
        os.kill(owner, signal.SIGKILL)
        take_soon(tmp_path)
        os.kill(child_id, 0)  # raises if the child has ended


def test_the_lock_is_released_at_the_end_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), lock.locked(tmp_path):
            raise RuntimeError
    with lock.locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} "):
        lock.locked(tmp_path).__enter__()


def test_a_world_in_use_is_refused_but_the_report_of_its_study_is_not(tmp_path, capsys):
    study = ("--config=experiments/configs/paper.py", f"--workdir={tmp_path}", "--config.worlds=smoke")
    with holder(tmp_path / "smoke") as (owner, _):
        ended = call(capsys, "main", *study, "--config.not_offline=", "--stage=data")
        assert ended.err.startswith(f"error: {tmp_path / 'smoke'} is in use by process {owner} ")
        results = f"--config.results={tmp_path / 'results'}"
        ended = call(capsys, "main", *study, "--config.not_offline=", "--stage=report", results)
        assert "config.json is missing" in ended.err


def test_with_wait_the_second_process_waits(tmp_path):
    order, waiting = [], threading.Event()

    def wait_for_lock():
        waiting.set()
        with lock.locked(tmp_path, wait=True):
            order.append("second")

    thread = threading.Thread(target=wait_for_lock)
    with lock.locked(tmp_path, wait=True):
        thread.start()
        waiting.wait(10)
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, number):
    def refuse(file, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="not locked"), lock.locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [store.MARKER, lock.LOCK]


def test_another_error_of_the_file_system_is_one_line(tmp_path, monkeypatch):
    def fail(file, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(InputError, match=r"cannot be written \(Input/output error\)$"), lock.locked(tmp_path):
        raise AssertionError("ran")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "user_file").write_text("mine")
    with lock.locked(tmp_path / "run"):
        pass
    (tmp_path / "run" / lock.LOCK).unlink()
    (tmp_path / "run" / lock.LOCK).symlink_to(tmp_path / "user_file")
    with pytest.raises(InputError, match="cannot be written"), lock.locked(tmp_path / "run"):
        raise AssertionError("ran")
    assert (tmp_path / "user_file").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        ended = call(capsys, "main", *SMOKE, f"--workdir={folder}")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert f"error: {folder}: cannot be written (" in ended.err
    assert (tmp_path / "file").read_text() == "mine"

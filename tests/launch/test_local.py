"""Tests jobs as processes: their cores and GPUs, the list of failures, and the end of running jobs."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console
from small_jobs import children, script, wait_for

from launch import local
from launch.board import Board, last_line
from launch.child import command_of
from launch.local import LocalExecutor
from launch.sweep import run_jobs


def run(jobs, executor, terminal=False, num_done=0):
    out = io.StringIO()
    board = Board(jobs, num_done, Console(file=out, force_terminal=terminal, width=200, highlight=False))
    run_jobs(jobs, executor, board)
    board.failures()
    return board, out.getvalue()


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", list)


def test_a_failure_stops_no_other_job_and_is_listed_with_its_log(tmp_path, no_gpu):
    jobs = [
        script(tmp_path, "good", "print('fine')"),
        script(tmp_path, "bad", "print('first'); print('50%\\r100%'); raise SystemExit(3)"),
        script(tmp_path, "last", "print('fine too')"),
    ]
    board, text = run(jobs, LocalExecutor(jobs=2, cores=1), num_done=4)
    assert [(job.name, code) for job, code in board.failed] == [("bad", 3)]
    assert "done before, kept: 4" in text
    assert "[3/3]" in text
    assert "1 of 3 jobs failed" in text
    assert text.rstrip().endswith(f"bad\n    exit code 3: 100%\n    {jobs[1].log}")
    assert [last_line(job) for job in jobs] == ["fine", "100%", "fine too"]
    run(jobs[:1], LocalExecutor(jobs=1, cores=1))
    assert jobs[0].log.read_text() == "fine\nfine\n"  # a log keeps the output of earlier attempts


def test_a_terminal_gets_a_table(tmp_path, no_gpu):
    _, text = run([script(tmp_path, "j", "print('at work')")], LocalExecutor(1, 1), terminal=True)
    assert "1 of 1 jobs ended" in text
    assert "last line of its log" in text


def test_jobs_run_at_the_same_time_each_on_its_own_cores(tmp_path, no_gpu, monkeypatch):
    code = (
        "import glob, time; open(f'../now-{os.getpid()}', 'w').close(); time.sleep(0.4)\n"
        "print(len(glob.glob('../now-*')), sorted(os.sched_getaffinity(0)))\n"
        "os.unlink(f'../now-{os.getpid()}')"
    )
    cores_here = local.cores_here()
    jobs = [script(tmp_path, f"j{i}", code) for i in range(5)]
    executor = LocalExecutor(jobs=0, cores=1)
    assert executor.slots == len(cores_here)
    run(jobs, executor)
    lines = [last_line(job).split(" ", 1) for job in jobs]
    assert 1 <= max(int(count) for count, _ in lines) <= len(cores_here)
    assert {cores for _, cores in lines} == {f"[{core}]" for core in cores_here[: min(5, len(cores_here))]}
    monkeypatch.setattr(local, "cores_here", lambda: list(range(16)))
    assert LocalExecutor(0, 4).slots == 4


def test_each_gpu_gets_a_job(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: ["5", "7"])
    code = "import time; time.sleep(0.3); print(os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [script(tmp_path, f"j{i}", code) for i in range(2)]
    executor = LocalExecutor(0, 2)
    assert executor.slots == 2
    run(jobs, executor)
    assert [last_line(job) for job in jobs] == ["5", "7"]


SLOW_TO_END = """
import os, signal, sys, time
def end(*_):
    os.write(1, b'saved')  # the signal may have interrupted print
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_interrupted_sweep_lets_its_jobs_save_and_ends_them(tmp_path, no_gpu, monkeypatch, stubborn):
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.5 if stubborn else 60.0)
    code = SLOW_TO_END
    if stubborn:
        code = code.replace("sys.exit(143)", "return") + "\nwhile True: time.sleep(1)"
    job = script(tmp_path, "patient", code)
    executor = LocalExecutor(1, 1)
    finished = executor.finished

    def interrupted():
        if last_line(job) == "ready":
            raise KeyboardInterrupt
        return finished()

    executor.finished = interrupted
    with pytest.raises(KeyboardInterrupt):
        run([job], executor)
    assert last_line(job) == "saved"
    assert not children(str(job.folder))


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_ends_with_its_parent(tmp_path):
    code = (
        "import subprocess, time\nfrom launch.child import command_of\n"
        "p = subprocess.Popen(command_of(('-c', 'import time; time.sleep(600)')))\n"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        wait_for(lambda: (command := _command(pid)) and "launch.child" not in command)
        parent.kill()
    wait_for(lambda: not _command(pid))


def _command(pid):
    """The command line of a process, or "" if the process has ended."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def test_a_child_without_its_parent_does_not_start(tmp_path):
    command = command_of(("-c", "print('begun')"))
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")

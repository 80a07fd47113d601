"""Tests launch/slurm.sh without SLURM. A task runs one line of a file, and forwards signals and exit code."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_jobs import wait_for

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "slurm.sh"


@pytest.fixture
def array(tmp_path):
    """Starts tasks of a job array. The job in line 3 needs a moment after SIGTERM to save its state."""
    saving = (
        "import os, signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3); os.write(1, b'saved\\n'); sys.exit(99)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(600)"
    )
    (tmp_path / "saving.py").write_text(saving)
    commands = [
        shlex.join([sys.executable, "-c", "import os; print('a  b', os.getcwd())"]),
        shlex.join([sys.executable, "-c", "raise SystemExit(3)"]),
        shlex.join([sys.executable, "saving.py"]),
    ]
    (tmp_path / "jobs.txt").write_text("\n".join(commands) + "\n")
    (tmp_path / "bin").mkdir()
    queue = tmp_path / "bin" / "scontrol"
    queue.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/requeued"\n')
    queue.chmod(0o755)

    def start(number, *arguments):
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_ARRAY_JOB_ID": "77",
        }
        environment |= {"SLURM_ARRAY_TASK_ID": str(number)} if number else {}
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_task_n_runs_line_n_in_the_folder_of_the_submission(array, tmp_path):
    one, two = array(1, "jobs.txt"), array(2, "jobs.txt")
    assert one.communicate()[0] == f"a  b {tmp_path}\n"
    assert (one.wait(), two.wait()) == (0, 3)
    assert not (tmp_path / "bin" / "requeued").exists()


def test_after_sigterm_a_job_saves_and_is_queued_again(array, tmp_path):
    task = array(3, "jobs.txt")
    assert task.stdout.readline() == "ready\n"
    task.send_signal(signal.SIGTERM)
    assert task.communicate()[0] == "saved\n"
    assert task.returncode == 99  # the job's exit code, not that of the signal
    assert wait_for((tmp_path / "bin" / "requeued").read_text) == "requeue 77_3\n"


@pytest.mark.parametrize(
    ("number", "arguments", "message"),
    [(4, ["jobs.txt"], "jobs.txt has no line 4"), (None, ["jobs.txt"], "job array"), (1, [], "usage")],
)
def test_mistakes_are_one_line(array, number, arguments, message):
    task = array(number, *arguments)
    text = task.communicate()[1]
    assert task.returncode != 0
    assert message in text
    assert text.count("\n") == 1

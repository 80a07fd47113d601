"""Runs a sweep on Ray on this machine. If a worker is killed, its job starts again and continues."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import pandas as pd
import psutil
import pytest
from rich.console import Console
from small_jobs import script

ray = pytest.importorskip("ray")

import tiny_run  # noqa: E402

from launch import collect  # noqa: E402
from launch.board import Board  # noqa: E402
from launch.jobs import jobs_of  # noqa: E402
from launch.ray_cluster import LOST, RETRIES, RayExecutor  # noqa: E402
from launch.sweep import run_jobs  # noqa: E402

pytestmark = pytest.mark.slow


def kill_worker(job):
    """Kills the Ray worker that runs a job; returns the process of the job itself."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"--workdir={job.folder}" in process.cmdline():
                process.parent().kill()
                return process
    raise AssertionError("no process runs the job")


def test_a_job_of_a_killed_worker_continues_and_failures_are_listed(tmp_path):
    sweep = tmp_path / "sweep.py"
    sweep.write_text("SWEEP = {'grid': {'seed': [5]}}")
    config = tiny_run.get_config()
    whole = jobs_of(sweep, config, {}, tmp_path / "out", tiny_run.__file__)[0]
    failing = script(tmp_path, "failing", "print('no'); raise SystemExit(4)")
    deadly = script(tmp_path, "deadly", "print('try', flush=True); os.kill(os.getppid(), 9)\n")
    executor = RayExecutor("", 1)
    finished, killed = executor.finished, []

    def finished_after_kill():
        if not killed and (whole.folder / "simulator" / "manifest.json").exists():
            killed.append(kill_worker(whole))
            killed[0].wait(30)  # the job ends when its worker ends
        return finished()

    executor.finished = finished_after_kill
    board = Board([whole, failing, deadly], 0, Console(file=io.StringIO()))
    run_jobs([whole, failing, deadly], executor, board)
    assert not ray.is_initialized()
    assert sorted((job.name, code) for job, code in board.failed) == [("deadly", LOST), ("failing", 4)]
    assert deadly.log.read_text().split() == ["try"] * (1 + RETRIES)
    assert failing.log.read_text() == "no\n"
    assert killed
    log = whole.log.read_text()
    assert log.count("simulate: AUC") == 1
    assert log.count("simulate: done before, kept") == 1
    assert whole.is_done()
    argv = [f"--config={tiny_run.__file__}", f"--sweep={sweep}", f"--workdir={tmp_path / 'out'}"]
    again = subprocess.run(
        [sys.executable, "-m", "launch.sweep", *argv], capture_output=True, text=True, check=False
    )
    assert (again.stdout, again.returncode) == ("done before, kept: 1\n", 0), again.stderr

    assert collect.collect(tmp_path / "out") == []
    merged = pd.read_csv(tmp_path / "out" / "report" / "summary.csv")
    of_run = pd.read_csv(whole.folder / "report" / "summary.csv")
    pd.testing.assert_frame_equal(merged.drop(columns="run"), of_run)
    assert set(merged.run) == {"seed=5"}
    assert "1 finished run of 1 setting." in (tmp_path / "out" / "report" / "index.html").read_text()

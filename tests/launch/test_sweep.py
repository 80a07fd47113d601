"""Tests the output and the errors of the sweep command, and how it ends if it is interrupted."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_jobs import children, wait_for

ROOT = Path(__file__).resolve().parents[2]
TINY = "--config=tests/launch/tiny_run.py"
SWEEP = "--sweep=launch/sweeps/learning_rate.py"


# A command that a shell runs in the background ignores SIGINT. This script makes it handle SIGINT.
SCRIPT = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("launch.sweep", run_name="__main__", alter_sys=True)
"""


def start(*args):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Output, errors and exit code of several command lines that run at the same time."""
    folder = tmp_path_factory.mktemp("sweep")
    lines = {
        "print": [TINY, SWEEP, "--config.num_seeds=2", "--stage=label", "--redo"],
        "help": ["--help"],
        "no sweep": [TINY],
        "a study": ["--config=experiments/configs/paper.py", SWEEP],
        "a dry run": [TINY, SWEEP, "--dry_run"],
        "unknown executor": [TINY, SWEEP, "--executor=cloud"],
        "swept and given": [TINY, SWEEP, "--config.agents.a_ialp_ft.learning_rate=0.1"],
    }
    started = {
        name: start("--executor=print", f"--workdir={folder / 'out'}", *args) for name, args in lines.items()
    }
    outputs = {name: (*process.communicate(), process.returncode) for name, process in started.items()}
    assert not (folder / "out").exists()
    return outputs


def test_print_gives_a_shell_command_per_job(outputs):
    out, error, code = outputs["print"]
    assert (error, code) == ("", 0)
    lines = [shlex.split(line) for line in out.splitlines()]
    assert len(lines) == 6
    for line in lines:
        assert line[:4] == ["python", "-m", "experiments.main", TINY]
        assert {"--config.num_seeds=2", "--stage=label", "--redo"} < set(line)
    assert len({line[-3] for line in lines}) == 6
    assert all(line[-3].startswith("--workdir=/") for line in lines)


def test_help_names_the_flags_of_sweeps(outputs):
    out, _, code = outputs["help"]
    assert code == 0
    for name in ("--sweep", "--executor", "--jobs", "--cores", "--ray_address"):
        assert f"  {name}: " in out


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("no sweep", "--sweep is missing"),
        ("a study", "a sweep varies the settings of a run"),
        ("a dry run", "--dry_run: a sweep has none"),
        ("unknown executor", "cloud"),
        ("swept and given", "agents.a_ialp_ft.learning_rate is swept"),
    ],
)
def test_a_mistake_is_one_line(outputs, case, part):
    out, error, code = outputs[case]
    assert (out, code) == ("", 2)
    assert error.startswith("error: ")
    assert part in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_sweep_ends_its_runs(tmp_path, number, code):
    process = start(TINY, SWEEP, "--jobs=2", f"--workdir={tmp_path / 'out'}")
    wait_for(lambda: len(children(f"{tmp_path / 'out'}/agents")) == 2)
    process.send_signal(number)
    out, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert out.count("start ") == 2
    assert not children(str(tmp_path / "out"))

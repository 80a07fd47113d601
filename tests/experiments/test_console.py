"""Commands on any console: other encodings, closed pipes, Ctrl-C; and ~ in paths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import call

from ialp_jax import store
from ialp_jax.claim import RUN, claim
from ialp_jax.errors import InputError, expanded

ROOT = Path(__file__).resolve().parents[2]
SMOKE = (
    "--config=experiments/configs/smoke.py",
    "--config.data.demo.users=80",
    "--config.data.demo.items=60",
)


def start(*args: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", *args],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("module", ["experiments.main", "launch.sweep"])
def test_help_may_be_cut_off_by_its_reader(module):
    process = start(module, "--help")
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0


def test_a_run_with_a_closed_pipe_ends_without_a_traceback(tmp_path):
    process = start("experiments.main", *SMOKE, "--stage=data", f"--workdir={tmp_path / 'run'}")
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait(120) == 141


@pytest.mark.slow
def test_a_name_that_the_console_cannot_show_is_escaped(tmp_path):
    (tmp_path / "Käse").write_text("")
    process = start(
        *("experiments.main", *SMOKE, "--stage=data", f"--workdir={tmp_path / 'Käse' / 'run'}"),
        PYTHONIOENCODING="ascii",
    )
    assert process.wait(120) == 2
    assert b"K\\xe4se/run: cannot be written" in process.stderr.read()
    (tmp_path / "Käse").unlink()
    process = start(
        *("experiments.main", *SMOKE, "--stage=data", f"--workdir={tmp_path / 'Käse' / 'run'}"),
        PYTHONIOENCODING="ascii:strict",
    )
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"data ...")


def test_ctrl_c_ends_a_run_with_one_line_and_exit_code_130(tmp_path):
    command = ("experiments.main", *SMOKE, "--stage=simulate", f"--workdir={tmp_path / 'run'}")
    assert start(*command[:4], "--stage=data", command[-1]).wait(120) == 0
    process = start(*command)
    assert process.stdout.readline() == b"simulate ...\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    lines = [line for line in err.decode().splitlines() if "%|" not in line]
    assert process.returncode == 130, err
    assert len(lines) == 1, err
    assert lines[0].startswith("terminated: ")
    assert store.read_manifest(tmp_path / "run" / "data")


@pytest.mark.parametrize("module", ["experiments.benchmark", "launch.collect", "ialp_jax.labelling.inspect"])
def test_ctrl_c_ends_other_commands_with_one_line(tmp_path, module):
    args = ["--suite=encoder", "--out=o"] if "benchmark" in module else [str(tmp_path)]
    code = (
        "import runpy, sys, os, signal\n"
        "from ialp_jax import console, store\n"
        "from ialp_jax.labelling import inspect\n"
        "from experiments.benchmarks import suites\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores Ctrl-C
        "def busy(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "store.read_manifest = console.show_lines = suites.SUITES['encoder'] = busy\n"
        f"sys.argv = ['x', *{args}]\n"
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    claim(tmp_path / "r", RUN)
    (tmp_path / "r" / "config.json").write_text("{}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (process.returncode, process.stderr.splitlines()[-1:]) == (130, ["interrupted"]), process.stderr
    assert "Traceback" not in process.stderr


def test_home_folders_are_expanded_in_flags_settings_and_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.py").write_text(
        "from experiments.configs.tabular import get_config as tabular\n\n\n"
        "def get_config():\n    config = tabular()\n"
        "    config.data.root = '~/from the file'\n    return config\n"
    )
    command = ("main", "--config=~/c.py", "--workdir=~/run", "--stage=data")
    ended = call(capsys, *command)
    assert f"not found in {tmp_path}/from the file" in ended.err
    ended = call(
        capsys, "main", "--config=~/c.py", "--workdir=~/run", "--config.data.root=~/d", "--stage=data"
    )
    assert f"not found in {tmp_path}/d" in ended.err
    assert (tmp_path / "run" / "config.json").is_file()
    for folder, flag in (("one", ["--workdir=~/one"]), ("two", ["--workdir", "~/two"])):
        ended = call(capsys, "main", *SMOKE, *flag, "--stage=data")
        assert (ended.code, (tmp_path / folder / "data").is_dir()) == (0, True)
    assert not (ROOT / "~").exists()


def test_an_unknown_home_folder_is_named():
    with pytest.raises(InputError, match=r"--config\.data\.root=~nobody-here/d: no such home folder"):
        expanded("~nobody-here/d", "--config.data.root")
    assert expanded("d/~", "x") == "d/~"

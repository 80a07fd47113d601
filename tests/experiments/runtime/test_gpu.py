"""The user gets one note if JAX does not see a GPU. JAX leaves free GPU memory to torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runtime import gpu

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Simulates a machine with ``driver`` GPUs (None: no driver folder) and the output of nvidia-smi."""

    def make(driver=None, smi=None, code=0, **environment):
        for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(gpu, "DRIVER", tmp_path / "gpus")
        for number in range(driver or 0):
            (tmp_path / "gpus" / f"0000:0{number}").mkdir(parents=True)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        if smi is not None:
            (tmp_path / "bin").mkdir()
            (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\necho '{smi}'\nexit {code}\n")
            (tmp_path / "bin" / "nvidia-smi").chmod(0o755)

    return make


TWO = "GPU 0: Tesla T4 (UUID: GPU-1)\nGPU 1: Tesla T4 (UUID: GPU-2)"


@pytest.mark.parametrize(
    ("hardware", "ids"),
    [
        ({}, []),
        ({"driver": 2}, ["0", "1"]),
        ({"smi": TWO}, ["0", "1"]),
        ({"smi": "NVIDIA-SMI has failed", "code": 9}, []),
        ({"driver": 2, "CUDA_VISIBLE_DEVICES": "1"}, ["1"]),
        ({"driver": 2, "CUDA_VISIBLE_DEVICES": ""}, []),
        ({"driver": 2, "CUDA_VISIBLE_DEVICES": "-1"}, []),
    ],
)
def test_gpus_are_those_of_the_driver_unless_the_user_chose(machine, hardware, ids):
    machine(**hardware)
    assert gpu.visible_gpus() == ids
    hint = gpu.unseen_gpu("cpu")
    assert bool(hint) == bool(ids)
    assert gpu.unseen_gpu("gpu") == ""


def test_the_note_names_the_command_to_install_and_the_variable_that_silences_it(machine, monkeypatch):
    machine(driver=1)
    hint = gpu.unseen_gpu("cpu")
    assert "-r requirements-cuda.txt" in hint
    assert "\n" not in hint
    name, _, value = gpu.SILENCE.partition("=")
    assert gpu.SILENCE in hint
    monkeypatch.setenv(name, value)
    assert gpu.unseen_gpu("cpu") == ""


def test_jax_does_not_preallocate_memory_unless_the_user_chose():
    environment = {}
    gpu.share_memory(environment)
    assert environment == {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    for chosen in ({"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}, {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".3"}):
        environment = dict(chosen)
        gpu.share_memory(environment)
        assert environment == chosen


def test_a_run_prints_the_note_and_shares_memory_first(tmp_path):
    code = (
        "import os, sys\nfrom experiments.runtime import gpu\n"
        "gpu.visible_gpus = lambda: ['0']\n"
        "import runpy; sys.argv = ['main', '--config=experiments/configs/smoke.py', '--stage=label',\n"
        f"  '--workdir={tmp_path / 'r'}']\n"
        "import atexit; atexit.register(lambda: print(os.environ['XLA_PYTHON_CLIENT_PREALLOCATE']))\n"
        "runpy.run_module('experiments.main', run_name='__main__')"
    )
    removed = {"JAX_PLATFORMS", "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in removed},
        capture_output=True,
        text=True,
        check=False,
    )
    hint, error = done.stderr.splitlines()
    assert hint.startswith("note: this machine has an NVIDIA GPU")
    assert error.startswith("error: ")
    assert done.stdout.splitlines()[-1] == "false"

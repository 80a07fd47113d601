"""Bad environment variables of jax give a one-line error. Variables that change results are recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.config import Config
from experiments.run import settings
from experiments.runtime import jax_environment
from experiments.study.study_results import pair_key

ROOT = Path(__file__).resolve().parents[2]
OTHER = "environment: {0} gives other types or random numbers; unset it"
CASES = {
    "JAX_ENABLE_X64=1": OTHER.format("JAX_ENABLE_X64=1"),
    "JAX_DEFAULT_PRNG_IMPL=rbg": OTHER.format("JAX_DEFAULT_PRNG_IMPL=rbg"),
    "JAX_THREEFRY_PARTITIONABLE=0": OTHER.format("JAX_THREEFRY_PARTITIONABLE=0"),
    "JAX_RANDOM_SEED_OFFSET=7": OTHER.format("JAX_RANDOM_SEED_OFFSET=7"),
    "JAX_NUMPY_DTYPE_PROMOTION=strict": OTHER.format("JAX_NUMPY_DTYPE_PROMOTION=strict"),
    "JAX_ENABLE_X64=maybe": "environment: JAX_ENABLE_X64: invalid truth value 'maybe' ",
    "JAX_NUM_CPU_DEVICES=abc": 'environment: JAX_NUM_CPU_DEVICES: Invalid value "abc" ',
    "JAX_PLATFORMS=cuda": "environment: jax finds no device to run on (",
    "JAX_PLATFORMS=nonsense": "environment: jax finds no device to run on (Unable to initialize backend ",
}


@pytest.mark.parametrize("case", CASES)
def test_bad_jax_variables_end_with_one_line(tmp_path, case):
    name, _, value = case.partition("=")
    command = ["--config=experiments/configs/smoke.py", f"--workdir={tmp_path / 'run'}", "--stage=data"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.main", *command],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {CASES[case]}")
    assert name in line
    assert not (tmp_path / "run").exists()


def test_a_cache_of_jax_in_the_run_folder_is_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "run" / "cache"))
    command = ("main", "--config=experiments/configs/smoke.py", "--stage=data", "--workdir=HERE/run")
    where = "JAX_COMPILATION_CACHE_DIR=HERE/run/cache"
    refused(f"{where}: lies in HERE/run, the folder of --workdir; name a place outside it", *command)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ({}, {}),
        ({"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}, {}),
        ({"XLA_FLAGS": "--xla_dump_to=/d --b=1 --a=2"}, {"XLA_FLAGS": "--a=2 --b=1"}),
        ({"NVIDIA_TF32_OVERRIDE": "0"}, {"NVIDIA_TF32_OVERRIDE": "0"}),
        ({"JAX_DISABLE_JIT": "0", "JAX_DEFAULT_MATMUL_PRECISION": ""}, {}),
    ],
)
def test_only_rounding_variables_are_recorded(given, recorded):
    assert jax_environment.numerics(given) == recorded


def test_recorded_variables_are_part_of_settings_and_keys(monkeypatch):
    before = settings(Config())
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    after = settings(Config())
    assert "environment" not in before
    assert after["environment"] == {"NVIDIA_TF32_OVERRIDE": "1"}
    assert pair_key(after, "a2c") != pair_key(before, "a2c")

"""Each CPU core is a JAX device, unless the user sets the number of devices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runtime import cpu

ROOT = Path(__file__).resolve().parents[3]
SMOKE = "--config=experiments/configs/smoke.py"


def test_each_core_that_the_process_may_use_is_a_device(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 5}, raising=False)
    environment = {"XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    cpu.cores_as_devices(environment)
    assert environment["JAX_NUM_CPU_DEVICES"] == "3"


def test_without_affinity_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cpu.usable_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu.usable_cores() == 1


@pytest.mark.parametrize(
    "chosen", [{"JAX_NUM_CPU_DEVICES": "5"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}]
)
def test_the_setting_of_the_user_stays(chosen):
    environment = dict(chosen)
    cpu.cores_as_devices(environment)
    assert environment == chosen


@pytest.mark.parametrize(
    ("module", "flags", "expected"),
    [
        ("main", [SMOKE, "--stage=data"], str(cpu.usable_cores())),
        ("main", [SMOKE, "--coordinator=h:1", "--num_processes=2", "--process_id=0"], "none"),
        ("benchmark", ["--suite=encoder"], str(cpu.usable_cores())),
    ],
)
def test_commands_set_the_devices_before_jax_is_imported(tmp_path, module, flags, expected):
    output = {"main": f"--workdir={tmp_path / 'run'}", "benchmark": f"--out={tmp_path / 'rows.csv'}"}[module]
    code = (
        "import os, sys, runpy\n"
        "from experiments import flags\n"
        "from experiments.runtime import cpu, distributed\n"
        "from experiments.benchmarks import suites\n"
        "assert 'jax' not in sys.modules\n"
        "def stop(*_):\n"
        "    print(os.environ.get('JAX_NUM_CPU_DEVICES', 'none'))\n"
        "    sys.exit(0)\n"
        "distributed.start = suites.SUITES['encoder'] = stop\n"
        f"sys.argv = {[module, *flags, output]}\n"
        f"runpy.run_module('experiments.{module}', run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == [expected], done.stderr

"""A run of the quick tests reports how many slow tests it left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
import pytest

def test_quick(): pass

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number): pass
"""
CONFTEST = """
from left_out import LeftOut

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long")
    config.pluginmanager.register(LeftOut(config))
"""


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("args", "line"), [(["-m", "not slow"], "3 slow tests left out; -m '' runs them too"), ([], None)]
)
def test_the_number_of_slow_tests_is_the_same_with_any_number_of_workers(tmp_path, workers, args, line):
    (tmp_path / "test_some.py").write_text(FILE)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", workers, *args, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parent), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [text for text in done.stdout.splitlines() if "left out" in text]
    assert lines == ([line] if line else [])

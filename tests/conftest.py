"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from left_out import LeftOut

REPOSITORY = Path(__file__).resolve().parents[1]

# JAX's compilation cache: all tests, and the commands that they start, compile each program once. JAX reads
# these variables when it is imported.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
# All tests use one device, except tests about several devices.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")
# Ray reads this variable when it is imported. Some test modules import Ray before the project does.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

# A property test tries 25 examples, or 200 with `--hypothesis-profile=all`, which .ci/run sets.
# The examples are the same in every run, so that a failure does not depend on luck.
for name, examples in (("quick", 25), ("all", 200)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin that counts slow tests."""
    config.pluginmanager.register(LeftOut(config))


@pytest.fixture
def data_root() -> Path:
    """Folder of the real data sets. If it is missing, the test is skipped."""
    root = Path(os.environ.get("IALP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real data sets not found in {root}; set IALP_DATA to their folder")
    return root

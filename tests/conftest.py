"""Fixtures shared by all tests."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from left_out import LeftOut

from experiments.runtime import compilation_cache

REPOSITORY = Path(__file__).resolve().parents[1]

# JAX's compilation cache: the tests, the commands that they start, and the next test run compile each program
# once. JAX reads these variables when it is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**29))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
compilation_cache.start(str(Path(compilation_cache.chosen("auto")).with_name("compiled_by_tests")))
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


MOST_MAPPINGS = 15_000  # of a process; its next module may add as many again

# These modules take longest. They start first, so that no worker is idle at the end.
LONGEST = (
    *("test_run_lives", "test_stages", "test_devices", "test_distributed", "test_study_stages"),
    *("test_families", "test_fine_tuning", "test_real_worlds", "test_colab", "test_ray_engine"),
    *("test_files_of_others", "test_llm_labeller", "test_bad_labels", "test_learning", "test_gate"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin that counts slow tests."""
    config.pluginmanager.register(LeftOut(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests of the longest modules to the front."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def memory_mappings() -> int:
    """Number of memory mappings of this process, or 0 if the system has no such list."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def few_compiled_programs() -> Iterator[None]:
    """Drops JAX's compiled programs after a module if there are many, and returns their memory.

    Each program takes several memory mappings. Linux ends a process that needs more than 65,530 of them.
    """
    yield
    if "jax" in sys.modules and memory_mappings() > MOST_MAPPINGS:
        sys.modules["jax"].clear_caches()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps freed memory otherwise
            trim(0)


@pytest.fixture
def data_root() -> Path:
    """Folder of the real data sets. If it is missing, the test is skipped."""
    root = Path(os.environ.get("IALP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real data sets not found in {root}; set IALP_DATA to their folder")
    return root

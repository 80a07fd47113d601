"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# All tests, and the commands they start, compile each program once. Before JAX is imported, which reads it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
# And compute on one device, as this process does, unless they are about several.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")


@pytest.fixture
def data_root() -> Path:
    """Folder of the real data sets; the test is skipped where there is none."""
    root = Path(os.environ.get("IALP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real data sets not found in {root}; set IALP_DATA to their folder")
    return root

"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def data_root() -> Path:
    """Folder of the real data sets; the test is skipped where there is none."""
    root = Path(os.environ.get("IALP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real data sets not found in {root}; set IALP_DATA to their folder")
    return root

"""Finds the folder of the published data sets."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """The folder in ``IALP_DATA``, by default ``../shared/data``. Does not check that the folder exists."""
    return Path(os.environ.get("IALP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

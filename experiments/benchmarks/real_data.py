"""Where benchmarks look for the published data sets."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """``IALP_DATA``, or ``../shared/data`` beside the project; it need not exist."""
    return Path(os.environ.get("IALP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

"""Makes small Parquet tables, and runs the data stage on them."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from test_bad_data import CATALOGUE, COLUMNS, INTERACTIONS, ROWS, SMALL, START

LOG, LIST = "log.parquet", "list.parquet"
READ_LOG, READ_LIST = f"--config.data.tabular.interactions={LOG}", f"--config.data.tabular.items={LIST}"
USERS, THINGS = [f"u{n}" for n in range(30)], [f"i{n}" for n in range(30)]


def parquet(**columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def log(**columns):
    """Returns a dict with one Parquet file of thirty interactions. ``columns`` replace or add columns."""
    return {LOG: parquet(**{"user_id": USERS, "item_id": THINGS, **columns})}


def listed(**columns):
    """Returns a dict with one Parquet file of thirty items. ``columns`` replace or add columns."""
    return {LIST: parquet(**{"item_id": THINGS, "title": [f"Title {n}" for n in range(30)], **columns})}


def refuse(refused, folder: Path, changes, message, flags):
    """Writes good files and replaces some by ``changes``. The data stage must fail with ``message``."""
    good = {ROWS: INTERACTIONS, COLUMNS: CATALOGUE, **listed()}
    for name, content in {**good, **changes}.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(message, "main", *START, *SMALL, *flags)
    assert not (folder / "run" / "data").exists()

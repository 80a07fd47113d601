"""Anybody's data: interactions and items as CSV or Parquet, files and columns as configured.

``interactions.csv``: ``user_id,item_id[,rating][,timestamp]``; ``items.csv``: ``item_id,title[,category]``.
Ids are any text. Without ratings every row is a like; without timestamps the order of the file counts.
"""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.data.assemble import Items, Rows, assemble, numbered
from ialp_jax.data.config import DataConfig, TabularConfig
from ialp_jax.data.tables import csv_rows, number
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

FLAG = "--config.data.tabular"
LARGEST = float(np.finfo(np.float32).max)  # of a rating, as it is kept
Records = Iterator[tuple[str, Sequence[Any]]]


def _csv(path: Path, config: TabularConfig) -> tuple[list[str], Records]:
    """Header and records of a CSV file."""

    def lines() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from file

    remedy = f"name its encoding by {FLAG}.encoding"
    return csv_rows(lines(), str(path), config.encoding, config.delimiter, remedy)


def _parquet(path: Path) -> tuple[list[str], Records]:
    """Header and records of a Parquet file; a place is a file and a row, counted from 1."""
    import pyarrow  # late: only Parquet needs it
    import pyarrow.parquet

    def records(file: pyarrow.parquet.ParquetFile) -> Records:
        row = 0
        try:
            for batch in file.iter_batches():
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    row += 1
                    yield f"{path}: row {row}", ["" if value is None else value for value in values]
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: damaged after row {row} ({' '.join(str(error).split())})") from None

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from None
    return file.schema_arrow.names, records(file)


def _open(root: Path, name: str, knob: str, config: TabularConfig) -> tuple[list[str], Records]:
    """Header and records of one file. Raises InputError where it is missing."""
    path = root / name
    if not path.is_file():
        raise InputError(
            f"{name}: not found in {root}; put it there, or name another file by {FLAG}.{knob} or another "
            "folder by --config.data.root"
        )
    return _parquet(path) if path.suffix == ".parquet" else _csv(path, config)


def _columns(header: Sequence[str], wanted: dict[str, bool], config: TabularConfig, file: Path) -> list[int]:
    """Place of each wanted column, -1 for an optional one that is not there.

    Args:
      header: names of the file's columns.
      wanted: knob -> whether the column is needed.
      config: names the columns.
      file: for complaints.
    """
    names = [name.strip() for name in header]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{file}:1: two columns are called {name!r}")
    places = []
    for knob, needed in wanted.items():
        name = getattr(config, knob)
        if name not in names and (needed or (name and name != getattr(TabularConfig(), knob))):
            raise InputError(f"{file}:1: no column {name!r} among {names[:12]}; name it by {FLAG}.{knob}")
        places.append(names.index(name) if name in names else -1)
    return places


def _id(value: Any, place: str, name: str) -> str:
    """An id as text. Raises InputError where it is empty."""
    text = str(value).strip()
    if not text or "\0" in text:
        raise InputError(f"{place}: {name} is {'empty' if not text else 'no text: it has NUL bytes'}")
    return text


def _time(value: Any, place: str, name: str) -> float:
    """A number as it is, or an ISO 8601 date (UTC where it names no zone) as seconds since 1970."""
    try:
        moment = datetime.datetime.fromisoformat(str(value).strip()) if "-" in str(value)[1:] else None
    except ValueError:
        moment = None
    if moment is None:
        return number(value, place, name, kind="finite number or an ISO 8601 date")
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _items(root: Path, config: TabularConfig) -> tuple[dict[str, int], Items]:
    """Item id -> its place, and the items."""
    header, records = _open(root, config.items, "items", config)
    wanted = {"item": True, "title": True, "category": False}
    item, title, category = _columns(header, wanted, config, root / config.items)
    places: dict[str, int] = {}
    titles, categories = [], []
    for place, row in records:
        key = _id(row[item], place, config.item)
        if places.setdefault(key, len(titles)) != len(titles):
            raise InputError(f"{place}: {config.item} {key[:40]!r} stands there twice")
        titles.append(" ".join(str(row[title]).split()))
        categories.append(" ".join(str(row[category]).split()) if category >= 0 else "")
    return places, Items(titles, *numbered(categories))


def _interactions(root: Path, config: TabularConfig, items: dict[str, int]) -> tuple[Rows, int]:
    """Rows in the order of time, and how many were left out because their item is not listed."""
    header, records = _open(root, config.interactions, "interactions", config)
    wanted = {"user": True, "item": True, "rating": False, "timestamp": False}
    user, item, rating, timestamp = _columns(header, wanted, config, root / config.interactions)
    users: dict[str, int] = {}
    columns = array("q"), array("q"), array("d"), array("d")  # compact: files may have millions of rows
    unlisted = 0
    for place, row in records:
        owner, thing = _id(row[user], place, config.user), _id(row[item], place, config.item)
        stars = number(row[rating], place, config.rating, -LARGEST, LARGEST) if rating >= 0 else 0.0
        moment = _time(row[timestamp], place, config.timestamp) if timestamp >= 0 else 0.0
        if thing not in items:
            unlisted += 1
            continue
        for column, value in zip(
            columns, (users.setdefault(owner, len(users)), items[thing], stars, moment), strict=True
        ):
            column.append(value)
    owners, things, ratings, times = (np.array(column) for column in columns)
    found = Rows(owners, things, ratings if rating >= 0 else None)
    return found.at(np.argsort(times, kind="stable")), unlisted


def load(config: DataConfig) -> Dataset:
    """Reads the two files; items and users are numbered in the order in which they appear.

    Raises:
      InputError: a file or column is missing, or a row is malformed.
    """
    if not config.root:
        raise InputError(
            f"--config.data.root: not set; name the folder that holds {config.tabular.interactions} and "
            f"{config.tabular.items}"
        )
    places, items = _items(Path(config.root), config.tabular)
    rows, unlisted = _interactions(Path(config.root), config.tabular, places)
    dropped = {f"rows of items that {config.tabular.items} does not list": unlisted}
    return assemble(config, rows, items, ordered=True, dropped=dropped)

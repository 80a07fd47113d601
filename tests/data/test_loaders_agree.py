"""A table gives the same data set as CSV, CSV.gz, TSV, and in three dialects of Parquet."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.data import DataConfig, load
from ialp_jax.data.config import TabularConfig
from ialp_jax.types import Dataset

USERS = 5


class Tables(NamedTuple):
    """The content of the two tables. Every format stores the same content.

    Attributes:
      items: id, title and categories of each item.
      rows: user, item, rating, time of each interaction.
      integer_ids: whether ids are integers.
    """

    items: list[tuple[Any, str, list[str]]]
    rows: list[tuple[Any, Any, float | None, Any]]
    integer_ids: bool


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WORDS = st.sampled_from(
    ["NA", "null", "None", "nan", "007", "7", "1.0", "True", "a b", 'say "x"', "1,5", "-"]
)
IDS = st.one_of(WORDS, TEXT.map(str.strip).filter(lambda text: text and "\0" not in text))
NAMES = TEXT.map(lambda text: " ".join(text.replace("|", " ").split())).filter(bool) | st.just("Drama")
STARS = [
    1.0,
    4.5,
    *(k / 10 for k in range(1, 50) if float(np.float32(k / 10)) < k / 10),
]  # these are smaller in float32
TIMES = {
    "none": None,
    "seconds": st.integers(0, 2**31),
    "digits": st.integers(20200101000000000, 20200101000000999),  # yyyymmddhhmmssfff, beyond float64
    "dates": st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2200, 1, 1)),
}


@st.composite
def random_tables(draw: st.DrawFn) -> Tables:
    """Draws two tables. Five users like one item, other rows are random, and one row has an unlisted item."""
    integer_ids = draw(st.booleans())
    ids = st.integers(0, 2**53 - 1) if integer_ids else IDS
    # The id "base" makes a column text, so that words such as NA are ids and not missing numbers.
    base = 2**40 if integer_ids else "base"
    others = draw(st.lists(ids.filter(lambda one: one != base), min_size=2, max_size=5, unique=True))
    items = [(base, "Base", ["Drama"])]
    items += [(one, draw(TEXT | WORDS), draw(st.lists(NAMES, max_size=3, unique=True))) for one in others]
    users = draw(st.lists(ids.filter(lambda one: one != base), min_size=USERS, max_size=USERS, unique=True))
    users[0] = base
    rated, when = draw(st.booleans()), TIMES[draw(st.sampled_from(sorted(TIMES)))]
    pairs = [(user, base) for user in users]
    pairs += draw(
        st.lists(st.tuples(st.sampled_from(users), st.sampled_from(others)), min_size=8, max_size=12)
    )
    pairs.append((base, 2**41 if integer_ids else "\u00e4 not listed"))
    rows = [
        (
            user,
            item,
            (5.0 if item == base else draw(st.sampled_from(STARS))) if rated else None,
            None if when is None else draw(when),
        )
        for user, item in pairs
    ]
    return Tables(items, rows, integer_ids)


def columns(tables: Tables) -> tuple[dict[str, list], dict[str, list]]:
    """Returns both tables as column name -> values, without empty columns."""
    log = dict(
        zip(("user_id", "item_id", "rating", "timestamp"), zip(*tables.rows, strict=True), strict=True)
    )
    listed = dict(zip(("item_id", "title", "category"), zip(*tables.items, strict=True), strict=True))
    return {name: list(column) for name, column in log.items() if column[0] is not None}, {
        name: list(column) for name, column in listed.items()
    }


def text_table(table: dict[str, list], separator: str) -> bytes:
    """Writes CSV. A bar separates categories, and dates have the form of ISO 8601."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        writer.writerow(
            ["|".join(cell) if isinstance(cell, list) else str(cell) for cell in row]
        )  # of a datetime: 2020-01-01 00:00:00.000001
    return out.getvalue().encode()


def as_text(
    separator: str, end: str, pack: Callable[[bytes], bytes] = bytes
) -> Callable[..., dict[str, str]]:
    def write(folder: Path, tables: Tables) -> dict[str, str]:
        for name, table in zip(("interactions", "items"), columns(tables), strict=True):
            (folder / f"{name}{end}").write_bytes(pack(text_table(table, separator)))
        return {"separator": "tab" if separator == "\t" else separator}

    return write


def plain_parquet(folder: Path, tables: Tables) -> dict[str, str]:
    """Writes Parquet as pyarrow does, with int64, double, timestamps in microseconds, and lists."""
    for name, table in zip(("interactions", "items"), columns(tables), strict=True):
        pq.write_table(pa.table(table), folder / f"{name}.parquet", row_group_size=3)
    return {}


def pandas_parquet(folder: Path, tables: Tables) -> dict[str, str]:
    """Writes Parquet as pandas may, with dictionaries, float32 ratings, ids as floats, and nanoseconds."""
    log, items = (pd.DataFrame(table) for table in columns(tables))
    items["category"] = [" | ".join(names) or None for names in items["category"]]
    for frame in (log, items):
        for name in ("user_id", "item_id"):
            if name in frame:
                frame[name] = frame[name].astype("float64" if tables.integer_ids else "category")
    if "rating" in log:
        log["rating"] = log["rating"].astype(np.float32)
    if "timestamp" in log and log["timestamp"].dtype.kind == "M":
        log["timestamp"] = log["timestamp"].astype("datetime64[ns]")
    log.to_parquet(folder / "interactions.PQ")
    items.to_parquet(folder / "items.PQ", compression="zstd")
    return {}


def spark_folders(folder: Path, tables: Tables) -> dict[str, str]:
    """Writes tables as Spark may, with folders of part files, binary text, decimals, and time zones."""
    kinds = {
        "user_id": pa.decimal128(20, 0) if tables.integer_ids else pa.binary(),
        "item_id": pa.int64() if tables.integer_ids else pa.large_string(),
        "title": pa.binary(),
        "category": pa.large_list(pa.string()),
        "rating": pa.decimal128(6, 3),
    }
    for name, table in zip(("interactions", "items"), columns(tables), strict=True):
        (folder / f"{name}.parquet").mkdir()
        arrays = {}
        for column, values in table.items():
            if column == "rating":
                values = [decimal.Decimal(str(value)) for value in values]
            elif kinds.get(column) == pa.binary():
                values = [value.encode() for value in values]
            elif isinstance(values[0], datetime.datetime):
                instants = pa.array([value.replace(tzinfo=datetime.UTC) for value in values])
                arrays[column] = instants.cast(pa.timestamp("us", "Asia/Tokyo"))
                continue
            arrays[column] = pa.array(values, kinds.get(column))
        table_of_parts = pa.table(arrays)
        for part in range(len(table_of_parts)):  # the loader must read part 2 before part 10
            pq.write_table(
                table_of_parts.slice(part, 1), folder / f"{name}.parquet" / f"part-{part}.snappy.parquet"
            )
        (folder / f"{name}.parquet" / "_SUCCESS").touch()
        (folder / f"{name}.parquet" / ".part-0.crc").write_bytes(b"crc")
    return {}


FORMS = {  # format -> (end of the file names, function that writes the files)
    "csv": (".csv", as_text(",", ".csv")),
    "csv.gz": (".csv.gz", as_text(",", ".csv.gz", gzip.compress)),
    "tsv": (".tsv", as_text("\t", ".tsv")),
    "parquet": (".parquet", plain_parquet),
    "pandas": (".PQ", pandas_parquet),
    "spark": (".parquet", spark_folders),
}


def read(folder: Path, form: str, tables: Tables, like_at: float) -> Dataset:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    end, write = FORMS[form]
    config = TabularConfig(f"interactions{end}", f"items{end}", **write(folder, tables))
    shares = dict.fromkeys(("offline", "online", "tuning", "evaluation"), 0.25)
    return load(DataConfig("tabular", str(folder), like_at=like_at, min_likes=1, tabular=config, **shares))


def facts(data: Dataset) -> dict[str, Any]:
    """Returns the content of a data set as lists."""
    rows = data.interactions
    return {
        "titles": data.catalogue.titles,
        "categories": data.catalogue.categories.tolist(),
        "names": data.catalogue.category_names,
        "rows": [
            column if column is None else column.tolist()
            for column in (rows.user, rows.item, rows.like, rows.rating)
        ],
        "histories": data.histories.items.tolist(),
        "offsets": data.histories.offsets.tolist(),
        "split": data.split.tolist(),
        "dropped": list(data.dropped.values()),
        "notes": data.notes,
    }


@given(tables=random_tables())
def test_all_formats_give_the_same_data_set(tmp_path, tables):
    like_at = tables.rows[-2][2] or 4.0  # a rating at the threshold must be a like in every type
    expected = facts(read(tmp_path / "set", "csv", tables, like_at))
    assert expected["dropped"][-1] == 1, "the row of an item that is not listed"
    for form in FORMS:
        assert facts(read(tmp_path / "set", form, tables, like_at)) == expected, form

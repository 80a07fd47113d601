"""Tests faults in tables of other software: headers, compression, folders of part files, and size."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest
from small_tables import LIST, LOG, READ_LIST, READ_LOG, THINGS, USERS, parquet, refuse
from test_bad_data import CATALOGUE, COLUMNS, INTERACTIONS, ROWS, START, line

from ialp_jax.data import amazon, movielens, tables, tabular
from ialp_jax.data import parquet as parquet_files


def pack_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(ROWS, INTERACTIONS)
    return out.getvalue()


CASES = {  # case -> (files that replace good ones, expected message, *further flags)
    "no items": (
        {COLUMNS: CATALOGUE[:22]},
        f"HERE/{COLUMNS}: no row below its header; it must list the items",
    ),
    "no header": (
        {ROWS: "1,1,5\n2,1,5\n"},
        f"HERE/{ROWS}:1: no column 'user_id' among ['1', '1', '5']; the first line holds numbers: if the "
        "file has no header, add one",
    ),
    "a header of another kind": (
        line(COLUMNS, 1, "movieId,title,genres"),
        f"HERE/{COLUMNS}:1: no column 'item_id' among ['movieId', 'title', 'genres']; set its name by "
        "--config.data.tabular.item",
    ),
    "tabs": (
        {ROWS: INTERACTIONS.replace(",", "\t")},
        f"HERE/{ROWS}:1: no column 'user_id' among [...]; set its separator by "
        "--config.data.tabular.separator=tab",
    ),
    "semicolons": (
        {ROWS: INTERACTIONS.replace(",", ";")},
        f"HERE/{ROWS}:1: no column 'user_id' among [...]; set its separator by "
        "--config.data.tabular.separator=';'",
    ),
    "two columns that fit": (
        line(ROWS, 1, "User Id,item_id,rating,userId"),
        f"HERE/{ROWS}:1: two columns are called 'user_id' (User Id, userId); rename one",
    ),
    "only a packed file": (
        {ROWS: None, f"{ROWS}.gz": gzip.compress(INTERACTIONS.encode())},
        f"{ROWS}: not found in HERE, but {ROWS}.gz is: --config.data.tabular.interactions={ROWS}.gz",
    ),
    "only capitals": (
        {COLUMNS: None, "Items.CSV": CATALOGUE},
        f"{COLUMNS}: not found in HERE, but Items.CSV is: --config.data.tabular.items=Items.CSV",
    ),
    "a zip": (
        {ROWS: pack_zip()},
        f"HERE/{ROWS}: a zip archive or a spreadsheet; unpack it, or save it as CSV, CSV.gz or Parquet",
    ),
    "half a gzip": (
        {ROWS: gzip.compress(INTERACTIONS.encode())[:-30]},
        f"HERE/{ROWS}: broken off or not gzip after HERE/{ROWS}:...",
    ),
    "UTF-16 without a mark": (
        {ROWS: INTERACTIONS.encode("utf-16-le")},
        f"HERE/{ROWS}:1: UTF-16, not utf-8 text; convert the file: iconv -f UTF-16 -t UTF-8",
    ),
    "UTF-8 with a mark, called latin-1": (
        {ROWS: "\ufeff" + INTERACTIONS},
        f"HERE/{ROWS}:1: begins with the byte order mark of UTF-8; set --config.data.tabular.encoding=utf-8",
        "--config.data.tabular.encoding=latin-1",
    ),
    "lines that end in CR": (
        {ROWS: INTERACTIONS[:2000].replace("\n", "\r")},
        f"HERE/{ROWS}:1: not a CSV record (...); its lines end in CR only, end them in LF",
    ),
    "a quote in quotes": (
        line(COLUMNS, 4, 'i2,"The "best" title",c1'),
        f"HERE/{COLUMNS}:4: not a CSV record (...); double a quote inside a quoted field",
    ),
    "a folder without files": (
        {"log/_SUCCESS": ""},
        "HERE/log: a folder without files; use a file, or a folder of part files",
        "--config.data.tabular.interactions=log",
    ),
    "a folder of partitions": (
        {"log/day=1/part-0.csv": INTERACTIONS},
        "HERE/log: contains a folder 'day=1', but must contain only files; write the table without "
        "partitions",
        "--config.data.tabular.interactions=log",
    ),
    "parts with other columns": (
        {"log/part-0.csv": INTERACTIONS, "log/part-1.csv": INTERACTIONS.replace("rating", "stars")},
        "HERE/log/part-1.csv: its columns are [...'stars'...], those of part-0.csv are [...]; write all "
        "parts with the same columns",
        "--config.data.tabular.interactions=log",
    ),
    "a damaged part": (
        {"log/part-0.csv": INTERACTIONS, "log/part-1.csv": INTERACTIONS.replace("i8", "i8,more")},
        "HERE/log/part-1.csv:10: expected 4 fields as in the header, found 5",
        "--config.data.tabular.interactions=log",
    ),
    "more rows than allowed": (
        {},
        f"HERE/{ROWS}: more than 269 rows; if they fit in memory (0.1 GB per million), raise "
        "--config.data.tabular.most_rows",
        "--config.data.tabular.most_rows=269",
    ),
    "more items than allowed": (
        {},
        f"HERE/{COLUMNS}: more than 29 rows; if ...",
        "--config.data.tabular.most_rows=29",
    ),
    "more rows of Parquet than allowed": (
        {LOG: parquet(user_id=USERS * 2, item_id=THINGS * 2)},
        f"HERE/{LOG}: more than 59 rows; if ...",
        READ_LOG,
        READ_LIST,
        "--config.data.tabular.most_rows=59",
    ),
    "a row group that unpacks to too much": (
        {LIST: parquet(item_id=THINGS, title=[f"{thing} " * 100 for thing in THINGS])},
        f"HERE/{LIST}: the column 'title' has ... bytes in one row group; the maximum is 4,096; write "
        "smaller row groups",
        READ_LIST,
    ),
    "more rows than none": (
        {},
        "--config.data.tabular.most_rows=0: must be at least 1",
        "--config.data.tabular.most_rows=0",
    ),
    "a detail that is not there": (
        {},
        f"HERE/{COLUMNS}:1: no column 'year' among [...]; set it by --config.data.tabular.tell_apart",
        "--config.data.tabular.tell_apart=category,year",
    ),
    "one user": (
        {ROWS: "\n".join(INTERACTIONS.split("\n")[:10])},
        "--config.data.offline: this split is empty (users in all: 1); 4 splits need at least 4 users: look "
        "at the users of the interactions, --config.data.min_likes and .like_at",
    ),
    "titles that show nothing": (
        {COLUMNS: "item_id,title\n" + "".join(f"i{n},\u200b\n" for n in range(60))},
        "tabular: no interaction is left after filtering (dropped: 60 items without a title, ...); look at "
        "the titles of the items",
    ),
    "NUL bytes without end": (
        {ROWS: INTERACTIONS.encode() + b"\0" * 5000},
        f"HERE/{ROWS}:272: a line of more than 4,096 bytes of NUL bytes; the file is damaged, or its lines "
        "do not end in LF",
    ),
    "a line without end": (
        {COLUMNS: CATALOGUE + "i60," + "a" * 5000},
        f"HERE/{COLUMNS}:62: a line of more than 4,096 bytes of text; the file is damaged, ...",
    ),
    "a packed line without end": (
        {ROWS: gzip.compress(INTERACTIONS.encode() + b"a" * 9_000)},
        f"HERE/{ROWS}:272: a line of more than 4,096 bytes of text; the file is damaged, ...",
    ),
    "a quote that opens a record without end": (
        line(COLUMNS, 4, 'i2,"Title 2,c1' + "\nmore" * 2000),
        f"HERE/{COLUMNS}:4: a record of more than 4,096 characters; look for an unclosed quote",
    ),
    "too much text in all": (
        {},
        f"HERE/{COLUMNS}: its ids and titles have more than 500 characters; shorten them",
    ),
}
LIMITS = {"too much text in all": 500}


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """Lowers the size limits, so that small files count as too large."""
    monkeypatch.setattr(tables, "LONGEST", 4096)
    monkeypatch.setattr(parquet_files, "LARGEST_CHUNK", 4096)


@pytest.mark.parametrize("case", CASES)
def test_bad_files_of_other_software_end_with_one_line(refused, tmp_path, monkeypatch, case):
    changes, message, *flags = CASES[case]
    monkeypatch.setattr(tabular, "LARGEST_TEXT", LIMITS.get(case, tabular.LARGEST_TEXT))
    refuse(refused, tmp_path, changes, message, flags)


def test_zip_that_unpacks_to_too_much_ends_with_one_line(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "LARGEST_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "ml-latest-small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-latest-small/movies.csv", "movieId,title,genres\n" + "1,A,Drama\n" * 200)
    refused(
        "HERE/ml-latest-small.zip/ml-latest-small/movies.csv: unpacks to 2,021 bytes; the maximum is 1,000; "
        "get the zip again from ..., or unpack it yourself",
        "main",
        "--config=experiments/configs/movielens.py",
        *START[1:],
    )


def test_too_many_reviews_end_with_one_line(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(amazon, "MOST_REVIEWS", 3)
    review = '{"reviewerID": "a", "asin": "b", "overall": 5.0, "unixReviewTime": 1}\n'
    (tmp_path / f"{amazon.NAMES[0]}.gz").write_bytes(gzip.compress(review.encode() * 4))
    (tmp_path / f"{amazon.NAMES[1]}.gz").write_bytes(gzip.compress(b""))
    refused(
        f"HERE/{amazon.NAMES[0]}.gz:4: more than 3 reviews; use the 5-core of one category",
        "main",
        "--config=experiments/configs/industry.py",
        *START[1:],
    )

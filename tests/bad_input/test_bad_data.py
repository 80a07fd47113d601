"""If a data file has a typical fault, the error of the data stage names file, line and remedy."""

from __future__ import annotations

import io
import zipfile

import pyarrow
import pyarrow.parquet
import pytest

from ialp_jax.data import amazon, coat, lfm, movielens, unisrec

USERS, ITEMS = range(30), range(60)
INTERACTIONS = "user_id,item_id,rating,timestamp\n" + "".join(
    f"u{user},i{(7 * user + step) % 60},5,2020-01-{1 + step:02d}\n" for user in USERS for step in range(9)
)
CATALOGUE = "item_id,title,category\n" + "".join(f"i{item},Title {item},c{item % 3}\n" for item in ITEMS)
ROWS, COLUMNS = "interactions.csv", "items.csv"
START = (
    "--config=experiments/configs/tabular.py",
    "--stage=data",
    "--workdir=HERE/run",
    "--config.data.root=HERE",
)
SMALL = ("--config.simulator.horizon=10", "--config.labelling.candidates=5")


def line(file, number, text, content=None):
    """Returns the file after line ``number`` was replaced by ``text``."""
    lines = (content or {ROWS: INTERACTIONS, COLUMNS: CATALOGUE}[file]).split("\n")
    lines[number - 1] = text
    return {file: "\n".join(lines)}


def parquet(**columns):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


CASES = {  # case -> (files that replace good ones, expected message, *further flags)
    "file missing": (
        {ROWS: None},
        "interactions.csv: not found in HERE; put it there, or set another file by "
        "--config.data.tabular.interactions or another folder by --config.data.root",
    ),
    "root missing": (
        {},
        "items.csv: not found in HERE/none; put it there, or set another file by "
        "--config.data.tabular.items or another folder by --config.data.root",
        "--config.data.root=HERE/none",
    ),
    "root not set": (
        {},
        "--config.data.root: not set; set the folder that holds interactions.csv and items.csv",
        "--config.data.root=",
    ),
    "root a file": ({}, "items.csv: not found in HERE/items.csv; ...", "--config.data.root=HERE/items.csv"),
    "empty": ({ROWS: ""}, "HERE/interactions.csv: empty; its first line must name the columns"),
    "no rows": (
        {ROWS: INTERACTIONS[:33]},
        "HERE/interactions.csv: no row below its header; it must hold the interactions",
    ),
    "nobody likes": (
        {},
        "tabular: no interaction is left after filtering (dropped: 30 users with no like left, ...); look at "
        "--config.data.like_at (ratings are 5..5)",
        "--config.data.like_at=6",
    ),
    "everything filtered": (
        {},
        "tabular: no interaction is left after filtering (dropped: 60 items with fewer than 99 users, ...); "
        "look at --config.data.min_users...",
        "--config.data.min_users=99",
    ),
    "few users": (
        {ROWS: "\n".join(INTERACTIONS.split("\n")[:28])},
        "--config.data.online: this split is empty (users in all: 3); 4 splits need at least 4 users: look "
        "at the users of the interactions, --config.data.min_likes and .like_at",
    ),
    "small catalogue": (
        {},
        "--config.labelling.candidates=61 exceeds the 60 items",
        "--config.labelling.candidates=61",
    ),
    "no item column": (
        line(ROWS, 1, "user_id,thing,rating,timestamp"),
        "HERE/interactions.csv:1: no column 'item_id' among ['user_id', 'thing', 'rating', 'timestamp']; "
        "set its name by --config.data.tabular.item",
    ),
    "no title column": (
        line(COLUMNS, 1, "item_id,name,category"),
        "HERE/items.csv:1: no column 'title' among ...",
    ),
    "column that was asked for": (
        {},
        "HERE/interactions.csv:1: no column 'stars' among ...; set its name by --config.data.tabular.rating",
        "--config.data.tabular.rating=stars",
    ),
    "column twice": (
        line(ROWS, 1, "user_id,item_id,rating,rating"),
        "HERE/interactions.csv:1: two columns are called 'rating' (rating, rating); rename one",
    ),
    "other separator": (
        {ROWS: INTERACTIONS.replace(",", ";")},
        "HERE/interactions.csv:1: no column 'user_id' among ['user_id;item_id;rating;timestamp']; ...",
    ),
    "UTF-32": (
        {"interactions.csv": "user_id,item_id\n".encode("utf-32")},
        "HERE/interactions.csv:1: UTF-32, not utf-8 text; convert the file: iconv -f UTF-32 -t UTF-8",
    ),
    "UTF-16": (
        {ROWS: INTERACTIONS.encode("utf-16")},
        "HERE/interactions.csv:1: UTF-16, not utf-8 text; convert the file: iconv -f UTF-16 -t UTF-8",
    ),
    "latin-1": (
        {COLUMNS: CATALOGUE.replace("Title 4\n", "x").replace("Title 4,", "Café,").encode("latin-1")},
        "HERE/items.csv:6: not utf-8 text; set its encoding by --config.data.tabular.encoding",
    ),
    "open quote": (
        line(COLUMNS, 4, 'i2,"Title 2,c1'),
        "HERE/items.csv:4: not a CSV record (unexpected end of data); look for an unclosed quote",
    ),
    "too many fields": (
        line(ROWS, 3, "u0,i1,5,2020-01-02,more"),
        "HERE/interactions.csv:3: expected 4 fields as in the header, found 5",
    ),
    "too few fields": (
        line(ROWS, 3, "u0,i1"),
        "HERE/interactions.csv:3: expected 4 fields as in the header, found 2",
    ),
    "NUL in an id": (
        line(ROWS, 3, "u\0,i1,5,2020-01-02"),
        "HERE/interactions.csv:3: user_id is not text: it has NUL bytes",
    ),
    "no user": (line(ROWS, 3, " ,i1,5,2020-01-02"), "HERE/interactions.csv:3: user_id is empty"),
    "item twice": (line(COLUMNS, 4, "i1,Title,c"), "HERE/items.csv:4: item_id 'i1' is listed twice"),
    "rating of words": (
        line(ROWS, 3, "u0,i1,good,2020-01-02"),
        "HERE/interactions.csv:3: rating is 'good', expected a finite number in -3.40282e+38..3.40282e+38",
    ),
    "rating NaN": (
        line(ROWS, 3, "u0,i1,nan,2020-01-02"),
        "HERE/interactions.csv:3: rating is 'nan', expected a finite number in -3.40282e+38..3.40282e+38",
    ),
    "rating empty": (
        line(ROWS, 3, "u0,i1,,2020-01-02"),
        "HERE/interactions.csv:3: rating is '', expected a finite number in -3.40282e+38..3.40282e+38",
    ),
    "huge rating": (
        line(ROWS, 3, "u0,i1,1e999,2020-01-02"),
        "HERE/interactions.csv:3: rating is '1e999', expected a finite number in -3.40282e+38..3.40282e+38",
    ),
    "rating beyond float32": (
        line(ROWS, 3, "u0,i1,3.5e38,2020-01-02"),
        "HERE/interactions.csv:3: rating is '3.5e38', expected a finite number in ...",
    ),
    "time of words": (
        line(ROWS, 3, "u0,i1,5,yesterday"),
        "HERE/interactions.csv:3: timestamp is 'yesterday', expected a finite number or an ISO 8601 date",
    ),
    "a CSV called Parquet": (
        {"interactions.parquet": INTERACTIONS},
        "HERE/interactions.parquet: not a Parquet file (...)",
        "--config.data.tabular.interactions=interactions.parquet",
    ),
    "Parquet without an item": (
        {"interactions.parquet": parquet(user_id=["u1"])},
        "HERE/interactions.parquet:1: no column 'item_id' among ['user_id']; ...",
        "--config.data.tabular.interactions=interactions.parquet",
    ),
    "Parquet with a missing id": (
        {"interactions.parquet": parquet(user_id=["u1", None], item_id=["i1", "i2"])},
        "HERE/interactions.parquet: row 2: user_id is empty",
        "--config.data.tabular.interactions=interactions.parquet",
    ),
    "half a Parquet": (
        {"interactions.parquet": parquet(user_id=["u1"], item_id=["i1"])[:-20]},
        "HERE/interactions.parquet: not a Parquet file (...)",
        "--config.data.tabular.interactions=interactions.parquet",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_own_tables_end_with_one_line(refused, tmp_path, case):
    changes, message, *flags = CASES[case]
    for name, content in {ROWS: INTERACTIONS, COLUMNS: CATALOGUE, **changes}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(message, "main", *START, *SMALL, *flags)
    assert not (tmp_path / "run" / "data").exists()


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"ml-latest-small/{name}.csv", content)
    return out.getvalue()


MOVIES = "movieId,title,genres\n1,A,Drama\n"
PUBLISHED = {  # case -> (world, its files, replaced content, expected message)
    "lfm: one file": (
        "lfm",
        lfm.LASTFM.files,
        {"tags.dat": None},
        "tags.dat: not found in HERE; get it from ...",
    ),
    "lfm: header": (
        "lfm",
        lfm.LASTFM.files,
        {"artists.dat": "a\tb\n"},
        "HERE/artists.dat:1: header is ['a', 'b'], expected ['id', 'name', 'url', 'pictureURL']",
    ),
    "coat: letters": (
        "coat",
        coat.COAT.files,
        {coat.FEATURE_NAMES: "gender men\n"},
        f"HERE/{coat.FEATURE_NAMES}: expected lines attribute:value for ...",
    ),
    "movielens: no zip": (
        "movielens",
        movielens.ZIP.files,
        {"ml-latest-small.zip": "no zip"},
        "HERE/ml-latest-small.zip/ml-latest-small/movies.csv: cannot be read (File is not a zip file); ...",
    ),
    "movielens: zip without ratings": (
        "movielens",
        movielens.ZIP.files,
        {"ml-latest-small.zip": zipped(movies=MOVIES)},
        "HERE/ml-latest-small.zip/ml-latest-small/ratings.csv: cannot be read (...); get it again from ...",
    ),
    "movielens: half a star": (
        "movielens",
        movielens.UNPACKED.files,
        {"movies.csv": MOVIES, "ratings.csv": "userId,movieId,rating,timestamp\n1,1,0.2,5\n"},
        "HERE/ratings.csv:2: rating is '0.2', expected a finite number in 0.5..5",
    ),
    "industry: counting": (
        "industry",
        unisrec.UNISREC.files,
        {"Scientific.item2index": "B1\t7\n"},
        "HERE/Scientific.item2index:1: index is 7, expected 0: indices count up from 0",
    ),
    "industry: no JSON": (
        "industry",
        amazon.REVIEWS[1].files,
        {amazon.NAMES[0]: "{'asin': 1}\n"},
        f"HERE/{amazon.NAMES[0]}:1: not JSON (...)",
    ),
    "industry: deep JSON": (
        "industry",
        amazon.REVIEWS[1].files,
        {amazon.NAMES[0]: "[" * 100_000},
        f"HERE/{amazon.NAMES[0]}:1: not JSON (...)",
    ),
    "industry: no gzip": (
        "industry",
        amazon.REVIEWS[0].files,
        {f"{amazon.NAMES[0]}.gz": "plain"},
        f"HERE/{amazon.NAMES[0]}.gz: broken off or not gzip after HERE/{amazon.NAMES[0]}.gz:1 (...)",
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_bad_published_sets_end_with_one_line(refused, tmp_path, case):
    world, files, changes, message = PUBLISHED[case]
    for name, content in {**dict.fromkeys(files, ""), **changes}.items():
        if content is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(message, "main", f"--config=experiments/configs/{world}.py", *START[1:])

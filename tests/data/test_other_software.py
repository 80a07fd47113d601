"""Tables written by other software are read as intended."""

from __future__ import annotations

import datetime
import decimal
import gzip
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import call

from ialp_jax.data import DataConfig, load
from ialp_jax.data.config import TabularConfig
from ialp_jax.data.tables import LONGEST
from ialp_jax.errors import InputError

USERS = [f"u{user}" for user in range(10) for _ in range(3)]
THINGS = ["a", "b", "c"] * 10
LISTED = "item_id,title,category\na,Ants,Small|Insects\nb,Bees,Insects | Useful\nc,Cats,\n"


def log_of(**columns):
    table = {"user_id": USERS, "item_id": THINGS, **columns}
    return "\n".join(",".join(map(str, row)) for row in (table, *zip(*table.values(), strict=True))) + "\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "items.csv").write_text(LISTED)
    (tmp_path / "interactions.csv").write_text(log_of())
    return tmp_path


def read(folder, like_at=4.0, **settings):
    return load(DataConfig("tabular", str(folder), like_at=like_at, tabular=TabularConfig(**settings)))


def write_log(folder, **columns):
    pq.write_table(pa.table({"user_id": USERS, "item_id": THINGS, **columns}), folder / "log.parquet")
    return {"interactions": "log.parquet"}


@pytest.mark.parametrize("names", ["User ID,itemId,Rating,TIMESTAMP", "user-id,ITEM_ID, rating,time stamp"])
def test_column_names_may_differ_in_case_and_signs(folder, names):
    rows = log_of(rating=[5, 1, 4] * 10, timestamp=[3, 2, 1] * 10).split("\n", 1)[1]
    (folder / "interactions.csv").write_text(f"{names}\n{rows}")
    data = read(folder)
    assert data.histories.of(0).tolist() == [3, 1]
    assert data.interactions.rating[:3].tolist() == [4, 1, 5]


def test_exact_column_name_takes_precedence(folder):
    (folder / "interactions.csv").write_text(log_of(rating=[5] * 30, Rating=[1] * 30))
    data = read(folder)
    assert data.interactions.like.all()
    assert data.notes == {"columns of interactions.csv not read (Rating)": 1}


def test_data_stage_reports_columns_that_it_does_not_read(folder, capfd):
    (folder / "items.csv").write_text(f"{LISTED}d,Dogs,\n")
    log = log_of(item_id=[*"abcd"] * 7 + ["a", "b"], stars=[5, 1, 4] * 10, when=[3, 2, 1] * 10)
    (folder / "interactions.csv").write_text(log)
    short = ("horizon", "history_length", "start_length")
    flags = ("--stage=data", *(f"--config.simulator.{name}=1" for name in short))
    ended = call(
        capfd,
        "main",
        "--config=experiments/configs/tabular.py",
        f"--workdir={folder}/run",
        f"--config.data.root={folder}",
        "--config.labelling.candidates=2",
        *flags,
    )
    assert ended.code == 0, ended.err
    assert "; 2 columns of interactions.csv not read (stars, when)" in ended.out


@pytest.mark.parametrize(
    "stars",
    [
        np.full(30, 0.7, np.float32),
        np.full(30, 0.8, np.float16),
        [decimal.Decimal("0.7")] * 30,
        pa.array(["0.7"] * 30).dictionary_encode(),
    ],
)
def test_ratings_of_every_type_give_the_same_likes(folder, stars):
    like_at = 0.8 if getattr(stars, "dtype", None) == np.float16 else 0.7
    assert read(folder, like_at=like_at, **write_log(folder, rating=stars)).interactions.like.sum() == 30


def test_bytes_lists_and_integral_floats_become_text(folder):
    titles = pa.array([b"Ants", "Bées".encode(), b"Cats"])
    kinds = [["Small", "Insects"], ["Useful", "Insects"], None]
    pq.write_table(
        pa.table({"item_id": [1.0, 2.0, 2.0**53 - 1], "title": titles, "category": kinds}), folder / "i.pq"
    )
    things = pa.array([1, 2, 2**53 - 1] * 10)
    data = read(folder, items="i.pq", **write_log(folder, item_id=things))
    assert data.catalogue.titles == ("", "Ants", "Bées", "Cats")
    assert data.catalogue.category_names == ("", "Insects", "Small", "Useful")
    assert data.catalogue.categories.tolist() == [[0, 0], [2, 1], [3, 1], [0, 0]]


def test_long_ids_stay_different(folder):
    users = pa.array([2**53 + n // 3 for n in range(30)], pa.int64())
    assert read(folder, **write_log(folder, user_id=users)).num_users == 10
    text = log_of(user_id=[str(2**53 + n // 3) for n in range(30)])
    (folder / "interactions.csv").write_text(text)
    assert read(folder).num_users == 10


def test_word_for_a_missing_value_among_text_ids_is_an_id_with_a_note(folder):
    (folder / "interactions.csv").write_text(log_of().replace("u7,", "NULL,").replace("u8,", "nan,"))
    data = read(folder)
    assert data.num_users == 10
    assert data.notes == {"ids in user_id that may mean a missing value (NULL, nan)": 2}


def test_words_for_missing_values_are_ids_among_text_ids(folder):
    words = ["NA", "null", "None", "nan", "NULL", "007", "7", "7.0", "N/A", "-"]
    (folder / "interactions.csv").write_text(log_of(user_id=[word for word in words for _ in range(3)]))
    (folder / "items.csv").write_text("item_id,title\na,NA\nb,null\nc,None\n")
    data = read(folder)
    assert data.num_users == 10
    assert data.catalogue.titles == ("", "NA", "null", "None")


def test_dates_out_of_python_s_range_are_ordered_and_ignored_in_other_columns(folder):
    far = [datetime.date(9999, 1, 1).toordinal() - 719_163 + days for days in (900, 700, 800)] * 10
    far = pa.array(far, pa.int32()).cast(pa.date32())
    assert read(folder, **write_log(folder, timestamp=far)).histories.of(0).tolist() == [2, 3, 1]
    data = read(folder, **write_log(folder, until=far))
    assert data.histories.of(0).tolist() == [1, 2, 3]
    far = pa.array([10**12, 10**12 - 2, 10**12 - 1] * 10, pa.timestamp("s"))
    assert read(folder, **write_log(folder, timestamp=far)).histories.of(0).tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    "times",
    [
        ("20200101120000005", "20200101120000003", "20200101120000004"),  # yyyymmddhhmmssfff
        ("1577836800.1234567893", "1577836800.1234567891", "1577836800.1234567892"),
        ("2020-01-01T00:00:00.123456703", "2020-01-01T00:00:00.123456701", "2020-01-01T00:00:00.123456702Z"),
        ("20200101T120003", "20200101T120001", "20200101T120002.5"),
        ("20200103", "20200101", "20200102"),
        ("1e-300", "-1e300", "1e-999999"),
    ],
)
def test_times_are_ordered_to_their_last_digit(folder, times):
    (folder / "interactions.csv").write_text(log_of(timestamp=list(times) * 10))
    assert read(folder).histories.of(0).tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.uint64(), pa.decimal128(20, 0), pa.timestamp("ns", "Asia/Tokyo")]
)
def test_typed_times_are_ordered_to_their_last_digit(folder, kind):
    times = pa.array([1_577_836_800_123_456_700 + end for end in (3, 1, 2)] * 10, pa.int64()).cast(kind)
    assert read(folder, **write_log(folder, timestamp=times)).histories.of(0).tolist() == [2, 3, 1]


def test_long_fields_of_unused_columns_are_ignored(folder):
    (folder / "items.csv").write_text(f'item_id,title,text\na,Ants,"{"x" * 140_000}\n"\nb,Bees,\nc,Cats,y\n')
    assert read(folder).catalogue.titles == ("", "Ants", "Bees", "Cats")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "UTF_8_SIG"])
def test_utf8_byte_order_mark_is_not_part_of_the_first_column_name(folder, encoding):
    for name, text in (("items", LISTED), ("log", log_of())):
        text = text.replace(",", "\t").replace("\n", "\r\n")
        (folder / f"{name}.tsv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    data = read(folder, encoding=encoding, separator="tab", interactions="log.tsv", items="items.tsv")
    assert data.catalogue.titles == ("", "Ants", "Bees", "Cats")
    assert data.notes == {}


@pytest.mark.parametrize("name", ["log.pq", "log.PARQUET", "log.parq", "log"])
def test_parquet_is_recognised_under_any_file_name(folder, name):
    write_log(folder, rating=[5.0] * 30)
    (folder / "log.parquet").rename(folder / name)
    assert read(folder, interactions=name).interactions.like.sum() == 30


def test_folder_parts_are_read_in_numerical_order(folder):
    rows = log_of().split("\n")
    (folder / "log.csv").mkdir()
    for part in range(12):  # the last ones are empty
        lines = rows[1 + 3 * part : 4 + 3 * part]
        content = "\n".join([rows[0], *lines, ""]).encode() if lines[-1:] != [""] else b""
        (folder / "log.csv" / f"part-{part}.csv.gz").write_bytes(gzip.compress(content) if content else b"")
    (folder / "log.csv" / "_SUCCESS").touch()
    file, parts = read(folder), read(folder, interactions="log.csv")
    np.testing.assert_array_equal(file.interactions.item, parts.interactions.item)
    np.testing.assert_array_equal(file.split, parts.split)


def test_unused_columns_may_share_a_name(folder):
    (folder / "interactions.csv").write_text(log_of().replace("\n", ",,\n"))
    assert read(folder).notes == {"columns of interactions.csv not read ((no name), (no name))": 2}


def test_categories_are_split_unless_their_separator_is_empty(folder):
    data = read(folder)
    assert data.catalogue.category_names == ("", "Insects", "Small", "Useful")
    assert data.catalogue.category.tolist() == [[0, 0], [2, 1], [1, 3], [0, 0]]
    unsplit = read(folder, category_separator="")
    assert unsplit.catalogue.category_names == ("", "Insects | Useful", "Small|Insects")
    assert unsplit.catalogue.category.tolist() == [0, 2, 1, 0]


def test_shared_titles_get_the_configured_columns_then_categories_then_ids(folder):
    header = "item_id,title,year,category\n"
    (folder / "items.csv").write_text(header + "a,Emma,1996,Drama\nb,EMMA,2020,Drama\nc,Cats,1998,Drama\n")
    assert read(folder).catalogue.titles == ("", "Emma (a)", "EMMA (b)", "Cats")
    data = read(folder, tell_apart="year")
    assert data.catalogue.titles == ("", "Emma (1996)", "EMMA (2020)", "Cats")
    assert data.notes == {"shared titles made different": 2}
    (folder / "items.csv").write_text(header + "a,Emma,1996,Comedy\nb,Emma,1996,Drama\nc,Cats,1998,\n")
    assert read(folder, tell_apart="year").catalogue.titles == ("", "Emma (Comedy)", "Emma (Drama)", "Cats")


def test_files_that_are_too_large_raise_without_filling_the_memory(folder):
    with (folder / "interactions.csv").open("ab") as file:
        file.truncate(2**31)  # sparse: rows, then NUL bytes
    path = folder / "ml-latest-small.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("ml-latest-small/movies.csv", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(2**20))
    for name, message in (
        ("tabular", f"interactions.csv:32: a line of more than {LONGEST:,} bytes of NUL bytes"),
        ("movielens", "movies.csv: unpacks to 314,572,800 bytes; the maximum is 268,435,456"),
    ):
        tracemalloc.start()
        with pytest.raises(InputError, match=message):
            load(DataConfig(name, str(folder)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * LONGEST

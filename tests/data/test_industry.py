"""Tests the industry loader on windows of sequences by UniSRec, and on the publisher's JSON lines."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest

from ialp_jax.data import DataConfig, load
from ialp_jax.errors import InputError

ROOT = "Industrial & Scientific"
TEXTS = [
    f"Drill. {ROOT} Cutting Tools Drills. Bosch. ",
    "Pump, 5 gal. . Acme. ",
    f"Tape. {ROOT} Tapes, Adhesives & Sealants Tapes. . ",
    f"{ROOT} />. {ROOT} Lab & Scientific Products Flasks. Acme. ",
    *[f"Nut {n}. {ROOT} Fasteners Nuts. Acme. " for n in range(70)],
]
LONG = [*range(4, 66), 0, 1]  # 64 items, two of them also liked by other users


def sequences():
    return {user: LONG if user == 3 else [(user + k) % 4 for k in range(3 + user % 2)] for user in range(10)}


def window(user, sequence, end):
    history = " ".join(map(str, sequence[max(0, end - 50) : end]))
    return f"{user}\t{history}\t{sequence[end]}"


@pytest.fixture
def unisrec(tmp_path):
    """A small folder in UniSRec's format. As published, the longest training windows come first."""
    place = tmp_path / "amazon_industrial_unisrec"
    place.mkdir()
    parts = {"train": [], "valid": [], "test": []}
    for user, items in sequences().items():
        ends = range(len(items) - 1, 0, -1)
        for part, end in zip(["test", "valid", *["train"] * len(items)], ends, strict=False):
            parts[part].append(window(user, items, end))
    header = "user_id:token\titem_id_list:token_seq\titem_id:token"
    for part, lines in parts.items():
        (place / f"Scientific.{part}.inter").write_text("\n".join([header, *lines]) + "\n")
    products = [f"B{number:04}" for number in range(len(TEXTS))]
    index = "".join(f"{product}\t{number}\n" for number, product in enumerate(products))
    (place / "Scientific.item2index").write_text(index)
    rows = [f"{product}\t{text}" for product, text in reversed(list(zip(products, TEXTS, strict=True)))]
    (place / "Scientific.text").write_text("\n".join(["item_id:token\ttext:token_seq", *rows]) + "\n")
    return place


def config(root, **changes):
    return DataConfig(name="industry", root=str(root), **changes)


def test_sequences_are_rebuilt_from_windows(unisrec):
    data = load(config(unisrec.parent))
    assert data.num_users == 10
    assert [data.histories.of(user).tolist() for user in range(10)] == [
        [item + 1 for item in items] for items in sequences().values()
    ]
    assert data.interactions.ordered
    assert data.interactions.rating is None


def test_text_is_split_into_title_category_and_rest(unisrec):
    catalogue = load(config(unisrec.parent)).catalogue
    assert catalogue.titles[:5] == (
        "",
        "Drill",
        "Pump, 5 gal",
        "Tape",
        "Lab & Scientific Products Flasks. Acme",
    )
    kinds = [catalogue.category_names[number] for number in catalogue.category[:6]]
    assert kinds == [
        "",
        "Cutting Tools",
        "",
        "Tapes, Adhesives & Sealants",
        "Lab & Scientific Products",
        "Fasteners",
    ]
    assert catalogue.text[1:4] == ("Cutting Tools Drills. Bosch", "Acme", "Tapes, Adhesives & Sealants Tapes")


BROKEN = {
    "not a number": ("Scientific.train.inter", 2, "0\t0 x\t2", "item is 'x'"),
    "unknown item": ("Scientific.train.inter", 2, "0\t0\t99", "item 99 is not in the item2index"),
    "does not continue": ("Scientific.test.inter", 2, "0\t3 1\t2", "does not continue"),
    "same history": ("Scientific.test.inter", 2, "0\t0\t2", "the same history twice"),
    "no target": ("Scientific.test.inter", 2, "0\t0 1", "expected 3 tab-separated fields"),
    "index jumps": ("Scientific.item2index", 3, "B0002\t5", "expected 2"),
    "product twice": ("Scientific.text", 3, "B0073\tNut. . Acme. ", "item B0073 is listed twice"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_of_malformed_rows_name_file_and_line(unisrec, case):
    name, number, line, message = BROKEN[case]
    lines = (unisrec / name).read_text().split("\n")
    lines[number - 1] = line
    (unisrec / name).write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        load(config(unisrec.parent))
    assert re.match(rf".*{re.escape(name)}:{number}: ", str(caught.value))
    assert message in str(caught.value)


def reviews():
    rows = [(f"A{user}", asin, 5.0, day) for user in range(10) for asin, day in (("P2", 9), ("P1", 7))]
    return [*rows, ("A0", "P3", 4.0, 8), ("A1", "P4", 5.0, 8), ("A2", "P5", 5.0, 8), ("A0", "P1", 1.0, 10)]


METADATA = [
    {
        "asin": "P1",
        "title": "A &amp; B",
        "category": [ROOT, "Cutting Tools", "Drills"],
        "brand": "B.",
    },
    {"asin": "P2", "title": "Pump\n 5", "category": [], "brand": None},
    {"asin": "P1", "title": "Again"},
    {"asin": "P3", "title": "Tape", "category": [ROOT], "brand": "3M"},
    {"asin": "P4", "title": "var aPageStart = (new Date()).getTime();"},
    {"asin": "P9", "title": "Never bought"},
]


def write(folder, gz, reviewed=None, metadata=METADATA):
    names = ("reviewerID", "asin", "overall", "unixReviewTime")
    rows = [dict(zip(names, row, strict=True)) for row in reviewed or reviews()]
    folder.mkdir(exist_ok=True)
    for name, table in (
        ("Industrial_and_Scientific_5.json", rows),
        ("meta_Industrial_and_Scientific.json", metadata),
    ):
        content = "".join(json.dumps(row) + "\n" for row in table).encode()
        (folder / f"{name}{'.gz' if gz else ''}").write_bytes(gzip.compress(content) if gz else content)


@pytest.mark.parametrize("gz", [True, False])
def test_load_reads_the_publishers_json_lines(tmp_path, gz):
    write(tmp_path / "amazon_industrial", gz)
    data = load(config(tmp_path))
    assert data.catalogue.titles == ("", "A & B", "Pump 5", "Tape")
    assert data.catalogue.text == ("", "Cutting Tools, Drills. B.", "", "3M")
    assert data.catalogue.category_names == ("", "Cutting Tools")
    rows = data.interactions
    assert rows.item[:3].tolist() == [3, 2, 1], "in the order of time; the second word on P1 counts"
    assert rows.rating[:3].tolist() == [4, 5, 1]
    assert data.histories.of(0).tolist() == [3, 2]
    counts = {"repeated metadata rows": 1, "items without metadata": 1, "items without a title": 2}
    assert {name: data.dropped[name] for name in counts} == counts
    assert load(config(tmp_path, like_at=1.0)).histories.of(0).tolist() == [3, 2, 1]


def test_long_times_stay_ordered_and_brands_make_titles_different(tmp_path):
    begin = 2**60  # from here on, float64 represents only multiples of 256
    rows = [
        (f"A{user}", asin, 5.0, begin + day) for user in range(10) for asin, day in (("P2", 2), ("P1", 1))
    ]
    products = [
        {"asin": asin, "title": title, "brand": brand}
        for asin, title, brand in (("P1", "Tape", "3M"), ("P2", "TAPE", "Duck"))
    ]
    write(tmp_path / "amazon_industrial", True, rows, products)
    data = load(config(tmp_path))
    assert data.histories.of(0).tolist() == [1, 2]
    assert data.catalogue.titles == ("", "Tape (3M)", "TAPE (Duck)")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("", "P1", 5.0, 7), "reviewerID is ''"),
        (("A1", 12, 5.0, 7), "asin is '12'"),
        (("A1", "P1", "great", 7), "overall is 'great'"),
        (("A1", "P1", 7.0, 7), "overall is '7.0'"),
        (("A1", "P1", 5.0, None), "unixReviewTime is 'None'"),
    ],
)
def test_errors_of_malformed_reviews_name_file_and_line(tmp_path, row, message):
    write(tmp_path, False, [*reviews(), row])
    with pytest.raises(InputError) as caught:
        load(config(tmp_path))
    assert f"Industrial_and_Scientific_5.json:{len(reviews()) + 1}: {message}" in str(caught.value)


def test_errors_of_malformed_metadata_name_file_and_line(tmp_path):
    write(tmp_path, False, metadata=[{"asin": "P1", "title": ["Drill"]}])
    with pytest.raises(InputError, match=r"meta_Industrial_and_Scientific\.json:1: title is"):
        load(config(tmp_path))
    write(tmp_path, False, metadata=[{"asin": "P1", "category": "Tools"}])
    with pytest.raises(InputError, match=r"\.json:1: category is"):
        load(config(tmp_path))


def test_error_of_missing_files_names_the_most_complete_form(tmp_path, unisrec):
    (unisrec / "Scientific.text").unlink()
    with pytest.raises(InputError, match=rf"Scientific\.text: not found in {unisrec}"):
        load(config(tmp_path))
    write(tmp_path / "other", True)
    (tmp_path / "other" / "meta_Industrial_and_Scientific.json.gz").unlink()
    with pytest.raises(InputError, match=r"meta_Industrial_and_Scientific\.json\.gz: not found .*nijianmo"):
        load(config(tmp_path / "other"))
    with pytest.raises(InputError, match=r"--config\.data\.sha256: no hash of https://mcauleylab"):
        load(config(tmp_path / "other", download=True))


def test_real_files_have_the_published_counts(data_root):
    data = load(config(data_root, min_likes=1))
    assert (data.num_users, data.catalogue.num_items) == (8442, 4385)
    repeated = data.dropped["repeated rows of a user and an item"]
    assert repeated == 291
    assert len(data.histories.items) + repeated == 59427
    assert np.diff(data.histories.offsets).max() > 50, "longer than UniSRec's cut"
    assert sum(title == "" for title in data.catalogue.titles) == 1
    assert (data.catalogue.category[1:] == 0).sum() < 150
    assert not any("Industrial & Scientific" in title for title in data.catalogue.titles)

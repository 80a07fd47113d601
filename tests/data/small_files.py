"""Makes small files of each published format (file name -> bytes), and checks a loaded data set."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ialp_jax.types import Dataset

USERS, ITEMS = 16, 8
PAIRS = [(user, item) for user in range(1, USERS + 1) for item in range(1, ITEMS + 1) if (user + item) % 3]
TITLES = ["Björk", "AC/DC", "“Ω”", "a b", "Muse", "Nina", "Ed", "Sia"]


class Format(NamedTuple):
    """One format.

    Attributes:
      world: ``--config.data.name``.
      files: content by name.
      separator: between cells of a line.
      count: function that counts the interaction rows of the files; None: the test does not count them.
    """

    world: str
    files: dict[str, bytes]
    separator: str
    count: Callable[[dict[str, bytes]], int] | None


def lines(*rows: object, separator: str = "\t", end: str = "\n") -> bytes:
    return "".join(separator.join(map(str, row)) + end for row in rows).encode()


def table(header: str, rows: list, encoding: str = "utf-8") -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header.split(","), *rows])
    return out.getvalue().encode(encoding)


def body(content: bytes) -> int:
    """Counts the lines after the header. The last line may have no line end."""
    return len(content.removesuffix(b"\n").split(b"\n")) - 1


def records(content: bytes) -> int:
    """Counts the records of a CSV after its header."""
    return sum(map(bool, csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))) - 1


def _lfm() -> Format:
    tags = [(1, "rock"), (2, "jazz"), (3, "80s")]
    tagged = [(user, item, 1 + item % 3, 1, 4, 2009) for user, item in PAIRS[::2]]
    artists = [(item, TITLES[item - 1], "http://u", "http://p") for item in range(1, ITEMS + 1)]
    files = {
        "user_artists.dat": lines(("userID", "artistID", "weight"), *((*pair, 7) for pair in PAIRS)),
        "artists.dat": lines(("id", "name", "url", "pictureURL"), *artists),
        "tags.dat": lines(("tagID", "tagValue"), *tags),
        "user_taggedartists.dat": lines(
            ("userID", "artistID", "tagID", "day", "month", "year"), *tagged, end="\r\n"
        ),
    }
    return Format("lfm", files, "\t", lambda contents: body(contents["user_artists.dat"]))


def _coat() -> Format:
    names = ["gender:men", "gender:women", "jackettype:pea", "jackettype:down", "color:red", "color:other"]
    names += ["onfrontpage:yes", "onfrontpage:no"]
    features = [[int((item >> part // 2) % 2 == part % 2) for part in range(8)] for item in range(ITEMS)]
    rated = [[(user + item) % 6 for item in range(ITEMS)] for user in range(USERS)]
    tested = [[(user * item) % 6 for item in range(ITEMS)] for user in range(USERS)]
    propensities = [[0.25 + 0.5 * (item % 2) for item in range(ITEMS)] for _ in range(USERS)]
    files = {
        "train.ascii": lines(*rated, separator=" "),
        "test.ascii": lines(*tested, separator=" "),
        "propensities.ascii": lines(*propensities, separator=" "),
        "user_item_features/item_features.ascii": lines(*features, separator=" "),
        "user_item_features/item_features_map.txt": lines(*([name] for name in names)),
    }
    return Format(
        "coat", files, " ", lambda contents: sum(int(x) > 0 for x in contents["train.ascii"].split())
    )


def _movielens() -> Format:
    movies = [(item, f'{TITLES[item - 1]}, "The" (1999)', "Comedy|Drama") for item in range(1, ITEMS + 1)]
    ratings = [(user, item, 5 - 0.5 * ((user + item) % 5), 10**9 + item) for user, item in PAIRS]
    files = {
        "ratings.csv": table("userId,movieId,rating,timestamp", ratings),
        "movies.csv": table("movieId,title,genres", movies),
    }
    return Format("movielens", files, ",", lambda contents: records(contents["ratings.csv"]))


def _unisrec() -> Format:
    header, parts = ("user_id:token", "item_id_list:token_seq", "item_id:token"), {}
    for part, last in (("train", 3), ("valid", 2), ("test", 1)):
        rows = []
        for user in range(USERS):
            items = [item - 1 for owner, item in PAIRS if owner == user + 1]
            ends = range(1, len(items) - 2) if part == "train" else [len(items) - last]
            rows += [(user, " ".join(map(str, items[:end])), items[end]) for end in ends]
        parts[f"Scientific.{part}.inter"] = lines(header, *rows)
    texts = [
        (f"B{item}", f"{TITLES[item]}. Industrial & Scientific Cutting Tools. Acme.") for item in range(ITEMS)
    ]
    files = {
        **parts,
        "Scientific.item2index": lines(*((f"B{item}", item) for item in range(ITEMS))),
        "Scientific.text": lines(("item_id:token", "text:token_seq"), *texts),
    }
    return Format("industry", files, "\t", None)


def _amazon() -> Format:
    reviews = [
        {
            "reviewerID": f"A{user}",
            "asin": f"B{item}",
            "overall": 5.0 - (user + item) % 3,
            "unixReviewTime": item,
        }
        for user, item in PAIRS
    ]
    products = [
        {
            "asin": f"B{item + 1}",
            "title": title,
            "category": ["Industrial & Scientific", "Tools"],
            "brand": "x",
        }
        for item, title in enumerate(TITLES)
    ]

    def text(rows: list) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    files = {
        "Industrial_and_Scientific_5.json": text(reviews),
        "meta_Industrial_and_Scientific.json": text(products),
    }
    return Format(
        "industry", files, ",", lambda contents: body(contents["Industrial_and_Scientific_5.json"]) + 1
    )


def _tabular() -> Format:
    rows = [(f"u{user}", f"i{item}", 5 - (user + item) % 3, f"2020-01-{item:02d}") for user, item in PAIRS]
    files = {
        "interactions.csv": table("user_id,item_id,rating,timestamp", rows),
        "items.csv": table("item_id,title,category", [(f"i{i + 1}", TITLES[i], "x") for i in range(ITEMS)]),
    }
    return Format("tabular", files, ",", lambda contents: records(contents["interactions.csv"]))


FORMATS = {
    "lfm": _lfm(),
    "coat": _coat(),
    "movielens": _movielens(),
    "unisrec": _unisrec(),
    "amazon": _amazon(),
    "tabular": _tabular(),
}


def assert_sound(data: Dataset) -> None:
    """Checks the properties of a data set that later stages rely on."""
    num_items, num_users = len(data.catalogue.titles) - 1, len(data.split)
    assert data.catalogue.titles[0] == ""
    assert all(data.catalogue.titles[1:]), "each item has a title"
    assert len(data.catalogue.category) == num_items + 1
    assert (
        0
        <= data.catalogue.category.min()
        <= data.catalogue.category.max()
        < len(data.catalogue.category_names)
    )
    assert data.catalogue.text is None or len(data.catalogue.text) == num_items + 1
    assert sorted(set(data.split.tolist())) == [0, 1, 2, 3]
    likes: dict[int, list[int]] = {user: [] for user in range(num_users)}
    pairs = list(zip(data.interactions.user.tolist(), data.interactions.item.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs, key=lambda pair: pair[0])
    for (user, item), like in zip(pairs, data.interactions.like, strict=True):
        assert 1 <= item <= num_items
        likes[user] += [item] if like else []
    assert {item for _, item in pairs} == set(range(1, num_items + 1))
    for user, items in likes.items():
        history = data.histories.of(user).tolist()
        assert items
        assert history == items if data.interactions.ordered else sorted(history) == sorted(items)
    for rows in filter(None, (data.interactions, data.random_test)):
        assert len(rows.user) == len(rows.item) == len(rows.like)
        for column in (rows.rating, rows.propensity):
            assert column is None or np.isfinite(column).all()
    assert min(data.dropped.values()) >= 0

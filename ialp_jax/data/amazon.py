"""Amazon review data 2018 as published: one JSON object per line, plain or ``.gz``.

J. Ni, J. Li, J. McAuley. EMNLP 2019; https://nijianmo.github.io/amazon/. In the 5-core reviews, each user and
each product has at least five reviews. Fields of a review: ``reviewerID``, ``asin``, ``overall``,
``unixReviewTime``. Fields of the metadata: ``asin``, ``title``, ``category`` (a list that starts with the
root category), ``brand``. Times are dates, so reviews of the same day keep the order of the file.
"""

from __future__ import annotations

import html
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.data.assemble import Items, Rows, numbered
from ialp_jax.data.cells import moment
from ialp_jax.data.download import Archive
from ialp_jax.data.locate import Published
from ialp_jax.data.tables import json_lines, number
from ialp_jax.errors import InputError

URL = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2"
NAMES = ("Industrial_and_Scientific_5.json", "meta_Industrial_and_Scientific.json")
REVIEWS = tuple(
    Published(
        folder="amazon_industrial",
        files=tuple(f"{name}{end}" for name in NAMES),
        source="https://nijianmo.github.io/amazon/ (5-core reviews and metadata)",
        # The publisher gives no sha256, and we found none elsewhere.
        archives=(
            Archive(f"{URL}/categoryFilesSmall/{NAMES[0]}.gz"),
            Archive(f"{URL}/metaFiles2/{NAMES[1]}.gz"),
        ),
    )
    for end in (".gz", "")
)
MOST_REVIEWS = 50_000_000  # one of the largest categories has 11 million reviews
ROOT_CATEGORY = "Industrial & Scientific"
SCRIPT_IN_TITLE = "getTime"  # marks a badly scraped title; the publisher advises users to ignore such titles


def readable_title(title: str, text: str) -> str:
    """Returns ``text`` if the title is only the root category and the end of an HTML tag, else the title."""
    return text if re.fullmatch(rf"{ROOT_CATEGORY}\W*/>", title) else title


def _text(row: dict[str, Any], name: str, place: str, needed: bool = False) -> str:
    """Returns a text field. Raises InputError if it is not text, or if it is ``needed`` but missing."""
    value = row.get(name) or ""
    if not isinstance(value, str) or (needed and not value):
        raise InputError(f"{place}: {name} is {str(row.get(name))[:40]!r}, expected text")
    return value


def _reviews(path: Path) -> tuple[Rows, list[str]]:
    """Reads all reviews.

    Returns:
      Rows in the order of time, and the product numbers in ascending order. Each item in the rows is an index
      into the product numbers.
    """
    users: dict[str, int] = {}
    products: dict[str, int] = {}
    columns: tuple[array, ...] = tuple(array(code) for code in "qqddd")
    for place, row in json_lines(path):
        if len(columns[0]) == MOST_REVIEWS:
            raise InputError(f"{place}: more than {MOST_REVIEWS:,} reviews; use the 5-core of one category")
        user = users.setdefault(_text(row, "reviewerID", place, needed=True), len(users))
        product = products.setdefault(_text(row, "asin", place, needed=True), len(products))
        stars = number(row.get("overall"), place, "overall", least=1.0, most=5.0)
        number(row.get("unixReviewTime"), place, "unixReviewTime")  # refuses dates in words
        time = moment(row["unixReviewTime"], place, "unixReviewTime")
        for column, value in zip(columns, (user, product, stars, time.seconds, time.rest), strict=True):
            column.append(value)
    owner, item, rating, seconds, rest = (np.array(column) for column in columns)
    known = sorted(products)
    place_of = {product: index for index, product in enumerate(known)}
    renumbered = np.array([place_of[product] for product in products], np.int64)
    return Rows(owner, renumbered[item], rating).at(np.lexsort((rest, seconds))), known


def _metadata(path: Path, products: Sequence[str]) -> tuple[Items, dict[str, int]]:
    """Reads titles, categories below the root, and brands of these products; skips all other products.

    The published file repeats some products. Only the first row of each product is used.
    Repeated rows are counted.

    Returns:
      The items in the order of ``products``, and counts of repeated and of missing rows.
    """
    descriptions: dict[str, tuple[str, str, str, str]] = dict.fromkeys(products, ("", "", "", ""))
    described: set[str] = set()
    repeated = 0
    for place, row in json_lines(path):
        product = _text(row, "asin", place, needed=True)
        if product not in descriptions:
            continue
        repeated += product in described
        if product not in described:
            described.add(product)
            descriptions[product] = _description(row, place)
    titles, departments, texts, brands = ([one[part] for one in descriptions.values()] for part in range(4))
    category, names = numbered(departments)
    return Items(titles, category, names, texts, [brands, list(products)]), {
        "repeated metadata rows": repeated,
        "items without metadata": len(products) - len(described),
    }


def _description(row: dict[str, Any], place: str) -> tuple[str, str, str, str]:
    """Returns title, department, further text and brand of a product."""
    listed = row.get("category") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"{place}: category is {str(listed)[:40]!r}, expected a list of names")
    below = [" ".join(html.unescape(name).split()) for name in listed[1:]]
    title = " ".join(html.unescape(_text(row, "title", place)).split())
    brand = " ".join(html.unescape(_text(row, "brand", place)).split())
    text = ". ".join(part for part in (", ".join(below), brand) if part)
    title = "" if SCRIPT_IN_TITLE in title else readable_title(title, text)
    return title, below[0] if below else "", text, brand


def read(folder: Path, files: Sequence[str]) -> tuple[Rows, Items, dict[str, int]]:
    """Returns the reviews in the order of time, their products, and counts of repeated and of missing rows.

    Raises:
      InputError: a file is malformed.
    """
    rows, products = _reviews(folder / files[0])
    items, dropped = _metadata(folder / files[1], products)
    return rows, items, dropped

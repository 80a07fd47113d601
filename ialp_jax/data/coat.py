"""Coat shopping: ratings of coats that users chose themselves, and of coats drawn at random.

T. Schnabel, A. Swaminathan, A. Singh, N. Chandak, T. Joachims. Recommendations as Treatments:
Debiasing Learning and Evaluation. ICML 2016. The files are matrices of users x items; 0 means "not rated":
``train.ascii`` (ratings of coats that users chose), ``test.ascii`` (ratings of uniformly random coats),
``propensities.ascii`` (the authors' estimates of the probability that a train rating is observed).
``item_features.ascii`` has one-hot attributes, with their names in a second file. Coats have no titles, so we
build titles from the attributes. The data has no times: ``ordered`` is False.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.data.assemble import Items, Rows, assemble, numbered
from ialp_jax.data.config import DataConfig
from ialp_jax.data.download import Archive
from ialp_jax.data.locate import Published, locate
from ialp_jax.data.tables import number, rows, whole_number
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

FEATURES = "user_item_features/item_features.ascii"
FEATURE_NAMES = "user_item_features/item_features_map.txt"
COAT = Published(
    folder="coat",
    files=("train.ascii", "test.ascii", "propensities.ascii", FEATURES, FEATURE_NAMES),
    source="https://www.cs.cornell.edu/~schnabts/mnar/ (coat.zip)",
    archives=(
        Archive(
            "https://www.cs.cornell.edu/~schnabts/mnar/coat.zip",
            # The publisher gives no sha256. This sha256 is from a public repository.
            "6073d0b515ed1f6e830e4fead66dc76ad7991a7553eaa58e228b234a9d19daed",
            unpack=True,
        ),
    ),
)
ATTRIBUTES = ("gender", "jackettype", "color", "onfrontpage")
HIGHEST_RATING = 5


def _attributes(folder: Path) -> list[dict[str, str]]:
    """Reads the attributes of each item, such as ``{"gender": "men", "color": "black", ...}``."""
    names = [
        field.strip() for _, [field] in rows(folder / FEATURE_NAMES, ("attribute:value",), "ascii", False)
    ]
    columns: list[Any] = [tuple(name.split(":", 1)) for name in names]
    groups = {column[0] for column in columns}
    if not groups.issuperset(ATTRIBUTES) or any(len(column) != 2 for column in columns):
        raise InputError(f"{folder / FEATURE_NAMES}: expected lines attribute:value for {ATTRIBUTES}")
    items: list[dict[str, str]] = []
    for place, fields in rows(folder / FEATURES, names, "ascii", headed=False, separator=None):
        chosen = [column for column, field in zip(columns, fields, strict=True) if field != "0"]
        if not set(fields) <= {"0", "1"} or sorted(group for group, _ in chosen) != sorted(groups):
            raise InputError(f"{place}: expected a 1 for one value of each attribute, 0 for the others")
        items.append(dict(chosen))
    return items


def _title(item: dict[str, str]) -> str:
    """Builds a title such as "Women's navy pea coat, on the front page"; ignores the value "other"."""
    words = [item["color"], item["jackettype"], "coat"]
    title = f"{item['gender'].capitalize()}'s {' '.join(word for word in words if word != 'other')}"
    return title + (", on the front page" if item["onfrontpage"] == "yes" else "")


def _ratings(path: Path, num_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Returns user, item and rating of the M ratings, [M] each, and the number of users."""
    header = [f"item {item}" for item in range(num_items)]
    ratings, users = [], 0
    for user, (place, fields) in enumerate(rows(path, header, "ascii", headed=False, separator=None)):
        users = user + 1
        for item, field in enumerate(fields):
            rating = whole_number(field, place, header[item])
            if rating > HIGHEST_RATING:
                raise InputError(f"{place}: {header[item]} is rated {rating}, expected 0..{HIGHEST_RATING}")
            if rating:
                ratings.append((user, item, rating))
    table = np.array(ratings, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.float64), users


def _propensities(path: Path, num_users: int, num_items: int) -> np.ndarray:
    """Reads the propensities, float64 [U, N], each above 0 and at most 1."""
    header = [f"item {item}" for item in range(num_items)]
    table = [
        [
            number(field, place, name, least=float(np.finfo(np.float32).tiny), most=1.0)
            for name, field in zip(header, fields, strict=True)
        ]
        for place, fields in rows(path, header, "ascii", headed=False, separator=None)
    ]
    _same_users(path, len(table), num_users)
    return np.array(table).reshape(num_users, num_items)


def _same_users(path: Path, lines: int, expected: int) -> None:
    if lines != expected:
        raise InputError(f"{path}:{lines}: the last line; expected {expected} lines as in train.ascii")


def load(config: DataConfig) -> Dataset:
    """Reads Coat: 290 users, 300 coats; each user rated 24 chosen and 16 random coats (1 to 5).

    25 users have only one rating of 4 or more. The default of ``min_likes`` is 1 here, so that these few
    users stay.

    Raises:
      InputError: a file is missing or malformed.
    """
    folder, _ = locate(config, COAT)
    attributes = _attributes(folder)
    user, item, rating, users = _ratings(folder / "train.ascii", len(attributes))
    propensity = _propensities(folder / "propensities.ascii", users, len(attributes))
    tested = _ratings(folder / "test.ascii", len(attributes))
    _same_users(folder / "test.ascii", tested[3], users)
    category, names = numbered([item["jackettype"] for item in attributes])
    return assemble(
        config,
        Rows(user, item, rating, propensity[user, item]),
        Items([_title(item) for item in attributes], category, names),
        ordered=False,
        usual_min_likes=1,
        random_test=Rows(*tested[:3]),
    )

"""Reads your own data: CSV or Parquet files of interactions and items, with configurable names.

``interactions.csv``: ``user_id,item_id[,rating][,timestamp]``; ``items.csv``: ``item_id,title[,category]``.
Ids are any text. Without ratings, every row is a like. Without timestamps, the rows of the file must be in
the order of time.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ialp_jax.data import cells, columns, parquet
from ialp_jax.data.assemble import Items, Rows, assemble, numbered_sets
from ialp_jax.data.config import DataConfig, TabularConfig
from ialp_jax.data.sources import FLAG, Table, open_table
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

REMEMBERED = 1000  # maximum number of unlisted item ids that are stored for the error message
ROLES = {
    **dict.fromkeys(("user", "item", "title"), parquet.TEXT),
    "category": parquet.NAMES,
    "rating": parquet.NUMBER,
    "timestamp": parquet.TIME,
}
LARGEST_TEXT = 2**29  # maximum number of characters in all ids, titles and categories of a file


class _Budget:
    """Limits how many characters of a file are in memory."""

    def __init__(self, file: str) -> None:
        self._file, self._size = file, 0

    def add(self, *texts: str) -> None:
        """Adds the lengths of these texts. Raises InputError if the sum exceeds ``LARGEST_TEXT``."""
        self._size += sum(map(len, texts))
        if self._size > LARGEST_TEXT:
            raise InputError(
                f"{self._file}: its ids and titles have more than {LARGEST_TEXT:,} characters; shorten them"
            )


def _details(table: Table, config: TabularConfig) -> list[str]:
    """Returns the column names in ``config.tell_apart``. Raises InputError if the table lacks a column."""
    names = [name.strip() for name in config.tell_apart.split(",") if name.strip()]
    for name in names:
        if name not in table.header:
            raise InputError(
                f"{table.place}: no column {name!r} among {table.header[:12]}; set it by {FLAG}.tell_apart"
            )
    return names


def _unread(table: Table, wanted: Mapping[str, str], file: str) -> dict[str, int]:
    """Returns a note that lists the columns that are not read. It is empty if all columns are read."""
    names = [name.strip() or "(no name)" for name in table.header if name not in wanted]
    words = ", ".join(name[:40] for name in names[:8]) + (", ..." if len(names) > 8 else "")
    return {f"columns of {file} not read ({words})": len(names)} if names else {}


def _items(root: Path, config: TabularConfig) -> tuple[dict[str, int], Items, dict[str, int]]:
    """Reads the items.

    Returns:
      The position of each item id, the items, and notes about doubtful ids and about columns that are not
      read.
    """
    table, file = open_table(root, config.items, "items", config), str(root / config.items)
    column_of = columns.find(table, {"item": True, "title": True, "category": False}, config)
    details: dict[str, list[str]] = {name: [] for name in _details(table, config)}
    wanted = dict.fromkeys(details, parquet.NAMES)
    wanted |= {name: ROLES[knob] for knob, name in column_of.items()}
    places: dict[str, int] = {}
    titles: list[str] = []
    categories: list[list[str]] = []
    budget = _Budget(file)
    for place, row in table.records(wanted):
        cell = dict(zip(wanted, row, strict=True))
        key = cells.identity(cell[column_of["item"]], place, column_of["item"])
        if places.setdefault(key, len(titles)) != len(titles):
            raise InputError(f"{place}: {column_of['item']} {key[:40]!r} is listed twice")
        titles.append(cells.line(cell[column_of["title"]], place, column_of["title"]))
        texts = {name: cells.names(cell[name], place, name, config.category_separator) for name in details}
        for name, column in details.items():
            column.append(", ".join(texts[name]))
        category = column_of.get("category", "")
        value = cell[category] if category else None
        categories.append(cells.names(value, place, category, config.category_separator))
        budget.add(key, titles[-1], *categories[-1], *map(str, texts.values()))
    if not titles:
        raise InputError(f"{file}: no row below its header; it must list the items")
    notes = cells.missing_words(places, file, column_of["item"]) | _unread(table, wanted, config.items)
    all_details = [*details.values(), [", ".join(names) for names in categories], list(places)]
    return places, Items(titles, *numbered_sets(categories), details=all_details), notes


class _Log:
    """Collects interactions in compact arrays, because files may have millions of rows."""

    def __init__(self, items: Mapping[str, int]) -> None:
        self.items = items
        self.users: dict[str, int] = {}
        self.unlisted = 0  # number of rows with an item that the items file does not list.
        self.unknown: dict[str, str] = {}  # id of an unlisted item -> file and line of its first row
        self._dates: bool | None = None
        self._columns: tuple[array, ...] = tuple(array(code) for code in "qqddd")

    def add(self, user: str, item: str, rating: float, moment: cells.Moment | None, place: str) -> None:
        """Adds one row. If its item is not listed, the row is only counted."""
        if moment and moment.is_date is not self._dates:
            if self._dates is not None:
                kinds = ("a number", "dates") if self._dates else ("a date", "numbers")
                raise InputError(
                    f"{place}: its time is {kinds[0]}, after rows with {kinds[1]}; use one form for all"
                )
            self._dates = moment.is_date
        if item not in self.items:
            self.unlisted += 1
            if len(self.unknown) < REMEMBERED:
                self.unknown.setdefault(item, place)
            return
        seconds, rest = moment[:2] if moment else (0.0, 0.0)
        owner = self.users.setdefault(user, len(self.users))
        for column, value in zip(
            self._columns, (owner, self.items[item], rating, seconds, rest), strict=True
        ):
            column.append(value)

    def rows(self, rated: bool) -> Rows:
        """Returns all rows in the order of time. Rows with equal times keep the order of the file."""
        users, items, ratings, seconds, rests = (np.array(column) for column in self._columns)
        return Rows(users, items, ratings if rated else None).at(np.lexsort((rests, seconds)))


def _check_listed(log: _Log, name: str, config: TabularConfig, file: str) -> None:
    """Raises InputError if the two files write the same item ids differently, or share no item id."""
    if not log.unknown:
        return
    plain = {_plain(item): item for item in log.items}
    same = {item: plain[_plain(item)] for item in log.unknown if _plain(item) in plain}
    if 2 * len(same) >= len(log.unknown):
        item, listed = next(iter(same.items()))
        raise InputError(
            f"{log.unknown[item]}: {name} is {item[:40]!r}, {config.items} lists {listed[:40]!r}; "
            "write the ids in both files in the same way"
        )
    if not log.users:
        some = ", ".join(repr(item[:40]) for item in list(log.unknown)[:3])
        first = next(iter(log.items))
        raise InputError(
            f"{file}: {config.items} lists none of its items, such as {some}, but items such as "
            f"{first[:40]!r}; look at {FLAG}.item"
        )


def _plain(item: str) -> str:
    """Normalises an id, because programs often change its case, leading zeros or a final ``.0``."""
    if cells.NUMBER.fullmatch(item):
        return str(int(item.split(".")[0][:4000]))
    return item.casefold()


def _interactions(
    root: Path, config: TabularConfig, items: Mapping[str, int]
) -> tuple[Rows, int, dict[str, int]]:
    """Reads the interactions.

    Returns:
      Rows in the order of time, the number of rows with an unlisted item, and notes as from `_items`.
    """
    file = str(root / config.interactions)
    table = open_table(root, config.interactions, "interactions", config)
    needed = {"user": True, "item": True, "rating": False, "timestamp": False}
    column_of = columns.find(table, needed, config)
    wanted = {name: ROLES[knob] for knob, name in column_of.items()}
    rated, timed = "rating" in column_of, "timestamp" in column_of
    log, budget, empty = _Log(items), _Budget(file), True
    for place, row in table.records(wanted):
        empty = False
        user = cells.identity(row[0], place, column_of["user"])
        item = cells.identity(row[1], place, column_of["item"])
        rating = cells.rating(row[2], place, column_of["rating"]) if rated else 0.0
        moment = cells.moment(row[-1], place, column_of["timestamp"]) if timed else None
        if user not in log.users:
            budget.add(user)
        log.add(user, item, rating, moment, place)
    if empty:
        raise InputError(f"{file}: no row below its header; it must hold the interactions")
    notes = cells.missing_words(log.users, file, column_of["user"])
    notes |= _unread(table, wanted, config.interactions)
    _check_listed(log, column_of["item"], config, file)
    return log.rows(rated), log.unlisted, notes


def load(config: DataConfig) -> Dataset:
    """Reads the two files. Items and users are numbered in the order in which they first appear.

    Raises:
      InputError: a file or column is missing, or a row is malformed.
    """
    if not config.root:
        raise InputError(
            f"--config.data.root: not set; set the folder that holds {config.tabular.interactions} and "
            f"{config.tabular.items}"
        )
    places, items, notes = _items(Path(config.root), config.tabular)
    rows, unlisted, more = _interactions(Path(config.root), config.tabular, places)
    dropped = {f"rows of items that {config.tabular.items} does not list": unlisted}
    return assemble(config, rows, items, ordered=True, dropped=dropped, notes=notes | more)

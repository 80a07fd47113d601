"""Converts one cell of a table to text, a number or a time, from any type that a file may have.

The same value must give the same result from CSV, where every cell is text, and from typed Parquet columns.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Collection, Sequence
from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np

from ialp_jax.data.tables import number
from ialp_jax.errors import InputError

LARGEST_RATING = float(np.finfo(np.float32).max)  # Ratings are stored as float32.
EXACT = 2**53  # Up to this number, float64 represents all integers exactly.
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NUMBER = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
MISSING = frozenset(("nan", "NaN", "NAN", "<NA>", "NaT", "NA", "N/A", "None", "none", "null", "NULL"))
_EXACTLY = Context(prec=60)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d+)")


class Moment(NamedTuple):
    """A time, exact to 30 digits: ``seconds + rest``.

    Attributes:
      seconds: the time, rounded to float64: seconds since 1970 for dates; numbers keep their own unit.
      rest: the exact time minus ``seconds``, float64.
      is_date: whether the cell is a date.
    """

    seconds: float
    rest: float
    is_date: bool


def text(value: Any, place: str, name: str) -> str:
    """Converts a cell to text and keeps its spaces; a missing value (null or NaN) gives "".

    Raises:
      InputError: the cell contains bytes that are not UTF-8, an integer that its float type cannot represent
        exactly, a list, a date, or any other type.
    """
    if isinstance(value, str):
        return value
    match value:
        case None:
            return ""
        case bytes():
            return _decoded(value, place, name)
        case bool():
            raise InputError(f"{place}: {name} is {value}, expected text; convert the column to text")
        case int() | uuid.UUID():
            return str(value)
        case float() if math.isnan(value):
            return ""
        case Decimal() | float():
            return _number_as_text(value, place, name)
    kind = type(value).__name__
    raise InputError(f"{place}: {name} is a {kind}, expected text; convert the column to text")


def line(value: Any, place: str, name: str) -> str:
    """Converts a cell to text on one line with single spaces; see `text`."""
    return " ".join(text(value, place, name).split())


def _decoded(value: bytes, place: str, name: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{place}: {name} holds bytes that are not UTF-8 text; convert the column") from None


def _number_as_text(value: Decimal | float, place: str, name: str) -> str:
    """Writes ``1.0`` as ``1``, because an integer column with missing values often becomes a float column."""
    if not math.isfinite(value):
        raise InputError(f"{place}: {name} is {value}, expected text or a whole number")
    if value != int(value):
        return str(value)
    if isinstance(value, float) and abs(value) >= EXACT:
        raise InputError(
            f"{place}: {name} is {value!r}, a float that lost digits; store the column as text or int64"
        )
    return str(int(value))


def identity(value: Any, place: str, name: str) -> str:
    """Converts an id to text. Raises InputError if the id is missing, has NUL bytes or is not text."""
    identifier = text(value, place, name).strip()
    if not identifier or "\0" in identifier:
        problem = "empty" if not identifier else "not text: it has NUL bytes"
        raise InputError(f"{place}: {name} is {problem}")
    return identifier


def names(value: Any, place: str, name: str, separator: str) -> list[str]:
    """Returns the names in a cell, without duplicates.

    The cell is a list, or text with ``separator`` between the names. If ``separator`` is empty, the whole
    text is one name.
    """
    parts: Sequence[Any] = value if isinstance(value, list) else [value]
    texts = [line(part, place, name) for part in parts]
    split = [part for one in texts for part in (one.split(separator) if separator else [one])]
    return list(dict.fromkeys(part.strip() for part in split if part.strip()))


def rating(value: Any, place: str, name: str) -> float:
    """Converts a cell to a finite number in the range of float32. Raises InputError otherwise."""
    try:
        return number("" if value is None else value, place, name, -LARGEST_RATING, LARGEST_RATING)
    except InputError as error:
        if re.fullmatch(r"\s*[+-]?[\d.]*,[\d.,]*\s*", str(value)):
            raise InputError(f"{error}; write 4,5 as 4.5, and 1,000 as 1000") from None
        raise


def moment(value: Any, place: str, name: str) -> Moment:
    """Converts a number, or an ISO 8601 date (UTC if it has no time zone), to a `Moment`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return Moment(float(value), 0.0, False)
    if isinstance(value, str) and (exact := _date(value.strip())) is not None:
        seconds = float(exact)
    else:
        exact = None
        value = "" if value is None else value
        seconds = number(value, place, name, kind="finite number or an ISO 8601 date")
    precise = Decimal(value) if exact is None else exact
    return Moment(seconds, float(_EXACTLY.subtract(precise, Decimal(seconds))), exact is not None)


def _date(value: str) -> Decimal | None:
    """Converts an ISO 8601 date to seconds since 1970; returns None for a plain number or any other text."""
    try:
        float(value)
        return None  # as numbers, dates such as 20200101 are in the right order too
    except ValueError:
        pass
    try:
        when = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    passed = (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)) - EPOCH
    finer = _BEYOND_MICROSECONDS.search(value)
    rest = Decimal(finer[1]).scaleb(-6 - len(finer[1])) if finer else Decimal(0)
    seconds = Decimal(passed.days * 86_400 + passed.seconds)
    return _EXACTLY.add(_EXACTLY.add(seconds, Decimal(passed.microseconds).scaleb(-6)), rest)


def missing_words(ids: Collection[str], file: str, name: str) -> dict[str, int]:
    """Returns a note about ids that usually mean a missing value, such as NULL; empty without such ids.

    Raises:
      InputError: all other ids are numbers, so an id such as NULL must mean a missing value.
    """
    words = sorted(MISSING.intersection(ids))
    if words and len(ids) > len(words) and all(NUMBER.fullmatch(one) for one in ids if one not in MISSING):
        raise InputError(
            f"{file}: {name} is {words[0]!r} in some rows and a number in all others, so these rows lack it; "
            "remove them"
        )
    return {f"ids in {name} that may mean a missing value ({', '.join(words)})": len(words)} if words else {}

"""Converts one cell of a table to text, a number or a time, from any type that a file has.

The same value must give the same result from CSV, where all is text, and from typed Parquet columns.
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

LARGEST_RATING = float(np.finfo(np.float32).max)  # as ratings are stored
EXACT = 2**53  # float64 holds all whole numbers up to here
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NUMBER = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
MISSING = frozenset(("nan", "NaN", "NAN", "<NA>", "NaT", "NA", "N/A", "None", "none", "null", "NULL"))
_EXACTLY = Context(prec=60)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d+)")


class Moment(NamedTuple):
    """A time, exact to 30 digits: ``seconds + rest``.

    Attributes:
      seconds: the nearest float64; any unit if the file has numbers, seconds since 1970 for dates.
      rest: the difference to the exact value, float64.
      is_date: whether the file has a date.
    """

    seconds: float
    rest: float
    is_date: bool


def text(value: Any, place: str, name: str) -> str:
    """A cell as text, spaces included; "" if it is missing (null or NaN).

    Raises:
      InputError: bytes that are not UTF-8, a whole number that its float type cannot hold exactly, a
        list, a date, or any other type.
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
    """As `text`, on one line with single spaces."""
    return " ".join(text(value, place, name).split())


def _decoded(value: bytes, place: str, name: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{place}: {name} holds bytes that are not UTF-8 text; convert the column") from None


def _number_as_text(value: Decimal | float, place: str, name: str) -> str:
    """``1.0`` as ``1``: a column of whole numbers with gaps often becomes a column of floats."""
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
    """An id as text. Raises InputError if it is missing, has NUL bytes or is no text."""
    found = text(value, place, name).strip()
    if not found or "\0" in found:
        raise InputError(f"{place}: {name} is {'empty' if not found else 'no text: it has NUL bytes'}")
    return found


def names(value: Any, place: str, name: str, separator: str) -> list[str]:
    """The names in a cell, each once: a list, or text with ``separator`` between the names ("": one name)."""
    parts: Sequence[Any] = value if isinstance(value, list) else [value]
    whole = [line(part, place, name) for part in parts]
    split = [part for one in whole for part in (one.split(separator) if separator else [one])]
    return list(dict.fromkeys(part.strip() for part in split if part.strip()))


def rating(value: Any, place: str, name: str) -> float:
    """A finite number that float32 can hold. Raises InputError otherwise."""
    try:
        return number("" if value is None else value, place, name, -LARGEST_RATING, LARGEST_RATING)
    except InputError as error:
        if re.fullmatch(r"\s*[+-]?[\d.]*,[\d.,]*\s*", str(value)):
            raise InputError(f"{error}; write 4,5 as 4.5, and 1,000 as 1000") from None
        raise


def moment(value: Any, place: str, name: str) -> Moment:
    """A number as it is, or an ISO 8601 date (UTC if it names no zone) as seconds since 1970."""
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
    """Seconds since 1970 of an ISO 8601 date; None for anything else, plain numbers included."""
    try:
        float(value)
        return None  # 20200101 orders well as the number it is
    except ValueError:
        pass
    try:
        when = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    passed = (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)) - EPOCH
    finer = _BEYOND_MICROSECONDS.search(value)
    rest = Decimal(finer[1]).scaleb(-6 - len(finer[1])) if finer else Decimal(0)
    whole = Decimal(passed.days * 86_400 + passed.seconds)
    return _EXACTLY.add(_EXACTLY.add(whole, Decimal(passed.microseconds).scaleb(-6)), rest)


def missing_words(ids: Collection[str], file: str, name: str) -> dict[str, int]:
    """A note of the ids that are words for a missing value, such as NULL; empty without such ids.

    Raises:
      InputError: all other ids are numbers, so such a word is no id.
    """
    words = sorted(MISSING.intersection(ids))
    if words and len(ids) > len(words) and all(NUMBER.fullmatch(one) for one in ids if one not in MISSING):
        raise InputError(
            f"{file}: {name} is {words[0]!r} in some rows and a number in all others, so it is missing "
            "there; remove these rows"
        )
    return {f"ids in {name} that may mean a missing value ({', '.join(words)})": len(words)} if words else {}

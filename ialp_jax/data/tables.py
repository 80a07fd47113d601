"""Reads published text files line by line, so that every error message names the file and the line."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ialp_jax.errors import InputError

PUBLISHED_FILE = "use the publisher's file"
# Maximum number of bytes of a line, and of characters of a record. It limits the memory that reading needs.
LONGEST = 2**23
csv.field_size_limit(LONGEST)
_CSV_REMEDIES = {  # words in an error message of the csv module -> remedy
    "new-line character": "its lines end in CR only, end them in LF",
    "expected after": "double a quote inside a quoted field",
}


def lines_of(file: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[bytes]:
    """Yields each line of an open plain or gzip file, including its line end.

    Raises:
      InputError: a line has more than ``LONGEST`` bytes, or the gzip file is damaged.
    """
    number = 0
    while True:
        try:
            line = file.readline(LONGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            place = f"{name}:{max(number, 1)}"
            raise InputError(f"{name}: broken off or not gzip after {place} ({error})") from None
        number += 1
        if len(line) > LONGEST:
            kind = "NUL bytes" if not line.strip(b"\0") else "text"
            raise InputError(
                f"{name}:{number}: a line of more than {LONGEST:,} bytes of {kind}; "
                "the file is damaged, or its lines do not end in LF"
            )
        if not line:
            return
        yield line


def _decoded(
    lines: Iterable[bytes], name: str, encoding: str, remedy: str = PUBLISHED_FILE
) -> Iterator[tuple[str, str]]:
    """Yields (``file:line``, text) for each line. The text keeps its line end, but no byte order mark."""
    for number, raw in enumerate(lines, start=1):
        place = f"{name}:{number}"
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            raise InputError(f"{place}: not {encoding} text; {remedy}") from None
        yield place, text.removeprefix("\ufeff") if number == 1 else text


def rows(
    path: Path, header: Sequence[str], encoding: str, headed: bool = True, separator: str | None = "\t"
) -> Iterator[tuple[str, list[str]]]:
    """Yields (``file:line``, fields) for each line of a table without quotes. Lines end in LF or CRLF.

    Args:
      path: the file.
      header: names of the fields.
      encoding: encoding of the text.
      headed: whether the first line must equal ``header``; if false, the file has no header.
      separator: separator of the fields; None for any number of spaces.

    Raises:
      InputError: the header differs, a line has a wrong number of fields, or bytes are not ``encoding`` text.
    """
    # Binary mode, because only LF may end a line: titles may contain Unicode line separators.
    with path.open("rb") as file:
        for place, line in _decoded(lines_of(file, str(path)), str(path), encoding):
            fields = line.rstrip("\r\n").split(separator)
            if headed:
                headed = False
                if fields != list(header):
                    raise InputError(f"{place}: header is {fields[:8]}, expected {list(header)}")
                continue
            if len(fields) != len(header):
                names = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "")
                kind = "tab" if separator else "space"
                expected = f"{len(header)} {kind}-separated fields ({names})"
                raise InputError(f"{place}: expected {expected}, found {len(fields)}")
            yield place, fields


def csv_rows(
    lines: Iterable[bytes],
    name: str,
    encoding: str = "utf-8",
    separator: str = ",",
    remedy: str = PUBLISHED_FILE,
) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """Returns the header of a CSV file (RFC 4180), and an iterator over its records (``file:line``, fields).

    Args:
      lines: the open file.
      name: name of the file, for error messages.
      encoding: an encoding that contains ASCII, because lines must end in the byte LF.
      separator: one character.
      remedy: advice in the error message if bytes are not ``encoding`` text.

    Raises:
      InputError: the file is empty. The iterator raises InputError if bytes are not ``encoding`` text, quotes
        are not closed, or a record has more or fewer fields than the header.
    """
    decoded = (line for _, line in _decoded(lines, name, encoding, remedy))
    records = _records(decoded, name, separator)
    for _, header in records:
        return header, _regular(records, len(header))
    raise InputError(f"{name}: empty; its first line must name the columns")


def _records(lines: Iterable[str], name: str, separator: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (``file:line`` of the first line, fields) for each record that is not blank."""
    size, place = 0, f"{name}:1"

    def measured() -> Iterator[str]:
        nonlocal size
        for line in lines:
            size += len(line)
            if size > LONGEST:
                raise InputError(
                    f"{place}: a record of more than {LONGEST:,} characters; look for an unclosed quote"
                )
            yield line

    reader = csv.reader(measured(), delimiter=separator, strict=True)
    while True:
        size, place = 0, f"{name}:{reader.line_num + 1}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedies = (remedy for words, remedy in _CSV_REMEDIES.items() if words in str(error))
            remedy = next(remedies, "look for an unclosed quote")
            raise InputError(f"{place}: not a CSV record ({error}); {remedy}") from None
        if fields:
            yield place, fields


def _regular(records: Iterable[tuple[str, list[str]]], width: int) -> Iterator[tuple[str, list[str]]]:
    for place, fields in records:
        if len(fields) != width:
            raise InputError(f"{place}: expected {width} fields as in the header, found {len(fields)}")
        yield place, fields


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (``file:line``, object) for each line of a file of JSON objects, plain or ``.gz``.

    Raises:
      InputError: bytes are not UTF-8, a line is not a JSON object, a value is NaN or infinite, or the ``.gz``
        file is damaged.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for place, line in _decoded(lines_of(file, str(path)), str(path), "utf-8"):
            try:
                value = json.loads(line, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{place}: not JSON ({error})") from None
            if not isinstance(value, dict):
                raise InputError(f"{place}: expected a JSON object, found {line[:40].strip()!r}")
            yield place, value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def whole_number(text: str, place: str, name: str, least: int = 0) -> int:
    """Converts ASCII digits to an integer. For any other text, raises InputError with file and line."""
    if not (text.isascii() and text.isdigit() and len(text) < 19) or int(text) < least:
        raise InputError(f"{place}: {name} is {text[:40]!r}, expected a whole number of at least {least}")
    return int(text)


def number(
    value: Any,
    place: str,
    name: str,
    least: float = -math.inf,
    most: float = math.inf,
    kind: str = "finite number",
) -> float:
    """Converts text or a number to a finite float in ``least..most``.

    Raises:
      InputError: ``value`` is no such number. The message names file and line.
    """
    try:
        result = math.nan if "_" in str(value) or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not (math.isfinite(result) and least <= result <= most):
        bounds = "" if math.isinf(least) and math.isinf(most) else f" in {least:g}..{most:g}"
        raise InputError(f"{place}: {name} is {str(value)[:40]!r}, expected a {kind}{bounds}")
    return result

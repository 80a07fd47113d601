"""Reading published tab-separated files line by line, so that every complaint names file and line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ialp_jax.errors import InputError


def rows(path: Path, header: Sequence[str], encoding: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (``file:line``, fields) for each line after the header; LF and CRLF both end a line.

    Raises:
      InputError: other header, wrong number of fields, bytes that are not ``encoding``.
    """
    with path.open("rb") as file:  # bytes: only LF ends a line, whatever Unicode separators a title holds
        for number, raw in enumerate(file, start=1):
            place = f"{path}:{number}"
            try:
                fields = raw.rstrip(b"\r\n").decode(encoding).split("\t")
            except UnicodeDecodeError:
                raise InputError(f"{place}: not {encoding} text; take the publisher's file") from None
            if number == 1:
                if fields != list(header):
                    raise InputError(f"{place}: header is {fields[:8]}, expected {list(header)}")
                continue
            if len(fields) != len(header):
                expected = f"{len(header)} tab-separated fields ({', '.join(header)})"
                raise InputError(f"{place}: expected {expected}, found {len(fields)}")
            yield place, fields


def whole_number(text: str, place: str, name: str, least: int = 0) -> int:
    """An integer written in ASCII digits. Raises InputError with file and line otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) < 19) or int(text) < least:
        raise InputError(f"{place}: {name} is {text[:40]!r}, expected a whole number of at least {least}")
    return int(text)

"""Opens tables of any format: CSV, CSV.gz, Parquet, and folders of part files as Spark writes them."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ialp_jax.data import parquet
from ialp_jax.data.config import TabularConfig
from ialp_jax.data.tables import csv_rows, lines_of
from ialp_jax.errors import InputError

FLAG = "--config.data.tabular"
PARQUET_ENDS = (".parquet", ".pq", ".parq")
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
PACKED = {  # first bytes -> format
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
Records = Iterator[tuple[str, list[Any]]]


class Table(NamedTuple):
    """An open table.

    Attributes:
      place: ``file:1``, for error messages about the columns.
      header: names of the columns.
      records: function that takes a mapping from needed column to role. It yields (place, values) for each
        row, with the values in the order of this mapping.
    """

    place: str
    header: list[str]
    records: Callable[[Mapping[str, str]], Records]


def open_table(root: Path, name: str, knob: str, config: TabularConfig) -> Table:
    """Opens a file, or a folder of part files.

    Args:
      root: folder of the data.
      name: name of the file or folder.
      knob: setting that holds the name, for error messages.
      config: separator, encoding and limits.

    Raises:
      InputError: the file is missing, its format is not supported, or parts have different columns.
    """
    path = root / name
    if path.is_file():
        return _open(path, config)
    if path.is_dir():
        return _folder(path, config)
    stem = Path(name).name.split(".")[0].casefold()
    others = sorted(root.iterdir()) if root.is_dir() else []
    near = [other.name for other in others if other.name.split(".")[0].casefold() == stem]
    if near:
        raise InputError(f"{name}: not found in {root}, but {near[0]} is: {FLAG}.{knob}={near[0]}")
    raise InputError(
        f"{name}: not found in {root}; put it there, or set another file by {FLAG}.{knob} or another "
        "folder by --config.data.root"
    )


def _open(path: Path, config: TabularConfig) -> Table:
    with path.open("rb") as file:
        first = file.read(8)
    if path.name.casefold().endswith(PARQUET_ENDS) or first.startswith(PARQUET):
        header = parquet.open_file(path).schema_arrow.names
        return Table(f"{path}:1", header, lambda wanted: parquet.records(path, wanted, config.most_rows))
    for mark, kind in PACKED.items():
        if first.startswith(mark):
            raise InputError(f"{path}: {kind}; unpack it, or save it as CSV, CSV.gz or Parquet")
    return _csv(path, config, first.startswith(GZIP))


def _csv(path: Path, config: TabularConfig, packed: bool) -> Table:
    def lines() -> Iterator[bytes]:
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(lines_of(file, str(path))):
                if number == 0:
                    _check_encoding(line, path, config)
                yield line

    def opened() -> tuple[list[str], Records]:
        remedy = f"set its encoding by {FLAG}.encoding"
        return csv_rows(lines(), str(path), config.encoding, config.delimiter, remedy)

    header = [name.strip() for name in opened()[0]]

    def records(wanted: Mapping[str, str]) -> Records:
        places = [header.index(name) for name in wanted]
        for number, (place, fields) in enumerate(opened()[1], start=1):
            if number > config.most_rows:
                parquet.check_rows(str(path), number, config.most_rows)
            yield place, [fields[index] for index in places]

    return Table(f"{path}:1", header, records)


def _check_encoding(line: bytes, path: Path, config: TabularConfig) -> None:
    """Raises InputError if the first line shows that the file has another encoding."""
    if line.startswith(UTF32):  # first, because this mark begins like that of UTF-16
        raise InputError(
            f"{path}:1: UTF-32, not {config.encoding} text; convert the file: iconv -f UTF-32 -t UTF-8"
        )
    if line.startswith(UTF16) or b"\0" in line:
        kind = "UTF-16" if line.startswith(UTF16) or b"\0" in line[:4] else "binary data or UTF-16"
        raise InputError(
            f"{path}:1: {kind}, not {config.encoding} text; convert the file: iconv -f UTF-16 -t UTF-8"
        )
    if line.startswith(codecs.BOM_UTF8) and not codecs.lookup(config.encoding).name.startswith("utf-8"):
        raise InputError(f"{path}:1: begins with the byte order mark of UTF-8; set {FLAG}.encoding=utf-8")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which part-2 comes before part-10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"([0-9]+)", path.name)]


def _folder(path: Path, config: TabularConfig) -> Table:
    """Opens all parts of a folder in the order of their names; skips _SUCCESS, hidden and empty files."""
    parts = sorted(
        (one for one in path.iterdir() if one.name[0] not in "_." and (one.is_dir() or one.stat().st_size)),
        key=_natural,
    )
    for part in parts:
        if not part.is_file():
            raise InputError(
                f"{path}: contains a folder {part.name!r}, but must contain only files; write the table "
                "without partitions"
            )
    if not parts:
        raise InputError(f"{path}: a folder without files; use a file, or a folder of part files")
    tables = [_open(part, config) for part in parts]
    for part, table in zip(parts, tables, strict=True):
        if sorted(table.header) != sorted(tables[0].header):
            raise InputError(
                f"{part}: its columns are {table.header[:12]}, those of {parts[0].name} are "
                f"{tables[0].header[:12]}; write all parts with the same columns"
            )

    def records(wanted: Mapping[str, str]) -> Records:
        for number, record in enumerate(
            (record for table in tables for record in table.records(wanted)), start=1
        ):
            if number > config.most_rows:
                parquet.check_rows(str(path), number, config.most_rows)
            yield record

    return Table(tables[0].place, tables[0].header, records)

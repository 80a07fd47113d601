"""Reads columns of Parquet files as Python values; the role of a column decides which types it may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ialp_jax.errors import InputError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

# Roles of a column.
TEXT, NAMES, NUMBER, TIME = "text", "one or more names", "a number", "a number or a time"
LARGEST_CHUNK = 2**31  # Maximum bytes of a column in one row group, uncompressed.
BATCH = 8192  # Number of rows that are read at once.
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # Unit of time -> number of decimal places of a second.
_EXACT = {"halffloat": 2**11, "float": 2**24}  # Float type -> limit up to which it is exact for integers.


def open_file(path: Path, dictionaries: list[str] | None = None) -> pyarrow.parquet.ParquetFile:
    """Opens a file; reads the columns ``dictionaries`` in dictionary encoding, which stores each text once.

    Raises:
      InputError: the file is not a Parquet file, or is damaged.
    """
    import pyarrow  # not at the top, because only Parquet needs it
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path, read_dictionary=dictionaries)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from None


def records(path: Path, columns: Mapping[str, str], most_rows: int) -> Iterator[tuple[str, list[Any]]]:
    """Yields (``file: row n``, values of these columns) for each row; n counts from 1.

    Args:
      path: path of the file.
      columns: name -> role, in the order of the values.
      most_rows: maximum number of rows.

    Raises:
      InputError: a column has a type that its role does not allow, or the file is damaged or has too many
        rows or bytes.
    """
    import pyarrow

    file = open_file(path)
    for name, role in columns.items():
        _check_type(path, name, file.schema_arrow.field(name).type, role)
    _check_size(path, file.metadata, columns, most_rows)
    words = [name for name in columns if _is_words(file.schema_arrow.field(name).type)]
    row, file = 0, open_file(path, words)
    try:
        for batch in file.iter_batches(BATCH, columns=list(columns)):
            batch.validate(full=True)  # because the reader accepts indices beyond the dictionary
            values = [_values(batch.column(name), path, name, role) for name, role in columns.items()]
            for record in zip(*values, strict=True):
                row += 1
                yield f"{path}: row {row}", list(record)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: damaged after row {row} ({' '.join(str(error).split())})") from None


def _is_words(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind)


def _check_type(path: Path, name: str, kind: pyarrow.DataType, role: str) -> None:
    """Raises InputError if a column of this type cannot have this role."""
    import pyarrow
    from pyarrow import types

    plain = kind
    if role == NAMES and (types.is_list(kind) or types.is_large_list(kind)):
        plain = kind.value_type
    if types.is_dictionary(plain):
        plain = plain.value_type
    if isinstance(plain, pyarrow.UuidType) and role in (TEXT, NAMES):
        return
    fits = [types.is_string, types.is_large_string, types.is_string_view, types.is_null]
    fits += [types.is_integer, types.is_floating, types.is_decimal]
    if role in (TEXT, NAMES):
        fits += [types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary]
    if role == TIME:
        fits += [types.is_timestamp, types.is_date]
    if not any(check(plain) for check in fits):
        raise InputError(f"{path}: the column {name!r} holds {kind}, expected {role}; convert it")


def _check_size(
    path: Path, facts: pyarrow.parquet.FileMetaData, columns: Mapping[str, str], most_rows: int
) -> None:
    """Raises InputError if the metadata of the file states too many rows or bytes."""
    check_rows(str(path), facts.num_rows, most_rows)
    for group in range(facts.num_row_groups):
        for place in range(facts.num_columns):
            chunk = facts.row_group(group).column(place)
            name = chunk.path_in_schema.split(".")[0]
            if name in columns and chunk.total_uncompressed_size > LARGEST_CHUNK:
                raise InputError(
                    f"{path}: the column {name!r} has {chunk.total_uncompressed_size:,} bytes in one row "
                    f"group; the maximum is {LARGEST_CHUNK:,}; write smaller row groups"
                )


def check_rows(file: str, rows: int, most_rows: int) -> None:
    """Raises InputError if a file has more rows than the settings allow."""
    if rows > most_rows:
        raise InputError(
            f"{file}: more than {most_rows:,} rows; if they fit in memory (0.1 GB per million), raise "
            "--config.data.tabular.most_rows"
        )


def _values(column: pyarrow.Array, path: Path, name: str, role: str) -> list[Any]:
    """Returns the values of a column as a CSV would give them; None for missing values."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        words = _values(column.dictionary, path, name, role)
        return [None if index is None else words[index] for index in column.indices.to_pylist()]
    if types.is_timestamp(kind) or types.is_date(kind):
        return _seconds(column)
    values = column.to_pylist()
    if str(kind) not in _EXACT:
        return values
    if role in (TEXT, NAMES) and any(v is not None and abs(v) >= _EXACT[str(kind)] for v in values):
        raise InputError(
            f"{path}: the column {name!r} holds {kind}, which loses digits of large numbers; store it as "
            "text or int64"
        )
    small = kind.to_pandas_dtype()  # float32 0.7 must give 0.7, as a CSV does, not 0.699999988
    return [None if value is None else float(str(small(value))) for value in values]


def _seconds(column: pyarrow.Array) -> list[Decimal | None]:
    """Returns exact seconds since 1970, even for dates outside the range of Python's datetime."""
    import pyarrow
    from pyarrow import types

    if types.is_date32(column.type):
        days = column.cast(pyarrow.int32()).to_pylist()
        return [None if value is None else Decimal(value * 86_400) for value in days]
    digits = _DIGITS[getattr(column.type, "unit", "ms")]  # date64 counts milliseconds
    units = column.cast(pyarrow.int64()).to_pylist()
    return [None if value is None else Decimal(value).scaleb(-digits) for value in units]

"""Finds the needed columns in the header of a table, and says how to mend a wrong header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ialp_jax.data.config import TabularConfig
from ialp_jax.data.sources import FLAG, Table
from ialp_jax.data.tables import number
from ialp_jax.errors import InputError

SEPARATORS = {"\t": "tab", ";": "';'", "|": "'|'", ",": "','"}


def find(table: Table, wanted: Mapping[str, bool], config: TabularConfig) -> dict[str, str]:
    """Maps settings to names of columns in the file, without the optional columns that the file lacks.

    Names may differ in case, spaces and signs if only one column fits: ``userId`` or ``user id`` for
    ``user_id``.

    Args:
      table: gives the header.
      wanted: setting -> whether the column is needed.
      config: its settings contain the names of the columns.

    Raises:
      InputError: several columns fit one name, or a column is missing that is needed or that the user set.
    """
    header, column_of = [name.strip() for name in table.header], {}
    for knob, needed in wanted.items():
        name = getattr(config, knob)
        if not name:
            continue
        fitting = [column for column in table.header if column.strip() == name]
        fitting = fitting or [column for column in table.header if _alike(column, name)]
        if len(fitting) > 1:
            raise InputError(
                f"{table.place}: two columns are called {name!r} ({', '.join(fitting)}); rename one"
            )
        if fitting:
            column_of[knob] = fitting[0]
        elif needed or name != getattr(TabularConfig(), knob):
            raise InputError(
                f"{table.place}: no column {name!r} among {header[:12]}; {_remedy(header, knob, config)}"
            )
    return column_of


def _remedy(header: Sequence[str], knob: str, config: TabularConfig) -> str:
    for character, word in SEPARATORS.items():
        if len(header) == 1 and character in header[0] and character != config.delimiter:
            return f"set its separator by {FLAG}.separator={word}"
    if any(_is_number(name) for name in header):
        return "the first line holds numbers: if the file has no header, add one"
    return f"set its name by {FLAG}.{knob}"


def _alike(one: str, other: str) -> bool:
    """Whether two names differ only in case, spaces and signs."""
    plain = ["".join(filter(str.isalnum, name)).casefold() for name in (one, other)]
    return plain[0] == plain[1] != ""


def _is_number(name: str) -> bool:
    try:
        number(name, "", "")
    except InputError:
        return False
    return True

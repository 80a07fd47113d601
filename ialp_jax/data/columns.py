"""Finding the wanted columns in the header of a table, and saying what is wrong with a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ialp_jax.data.config import TabularConfig
from ialp_jax.data.sources import FLAG, Table
from ialp_jax.data.tables import number
from ialp_jax.errors import InputError

SEPARATORS = {"\t": "tab", ";": "';'", "|": "'|'", ",": "','"}


def find(table: Table, wanted: Mapping[str, bool], config: TabularConfig) -> dict[str, str]:
    """Knob -> name of the column in the file, without the optional columns that are not there.

    ``Rating``, ``userId`` and ``user id`` are found for ``rating`` and ``user_id``, if one column fits.

    Args:
      table: whose header is searched.
      wanted: knob -> whether the column is needed.
      config: names the columns.

    Raises:
      InputError: no column, or more than one, of a name.
    """
    header, found = [name.strip() for name in table.header], {}
    for knob, needed in wanted.items():
        name = getattr(config, knob)
        if not name:
            continue
        fitting = [own for own in table.header if own.strip() == name]
        fitting = fitting or [own for own in table.header if _alike(own, name)]
        if len(fitting) > 1:
            raise InputError(
                f"{table.place}: two columns are called {name!r} ({', '.join(fitting)}); rename one"
            )
        if fitting:
            found[knob] = fitting[0]
        elif needed or name != getattr(TabularConfig(), knob):
            raise InputError(
                f"{table.place}: no column {name!r} among {header[:12]}; {_remedy(header, knob, config)}"
            )
    return found


def _remedy(header: Sequence[str], knob: str, config: TabularConfig) -> str:
    for character, word in SEPARATORS.items():
        if len(header) == 1 and character in header[0] and character != config.delimiter:
            return f"set its separator by {FLAG}.separator={word}"
    if any(_is_number(name) for name in header):
        return "the first line holds numbers: if it is no header, write one above it"
    return f"name it by {FLAG}.{knob}"


def _alike(one: str, other: str) -> bool:
    """Whether two names differ by case, spaces and signs only."""
    plain = ["".join(filter(str.isalnum, name)).casefold() for name in (one, other)]
    return plain[0] == plain[1] != ""


def _is_number(name: str) -> bool:
    try:
        number(name, "", "")
    except InputError:
        return False
    return True

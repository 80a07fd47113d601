"""The log of a search's trials, and the list of all configurations ever given to a method.

Both are CSV files of one world: ``<world>.csv`` has the trials of the present search, and
``<world>_given.csv`` a row for each configuration that any search has ever tried. Rows of the second file are
never deleted, because each try is a chance to win by luck. A configuration counts again after
a change of other settings on which its result depends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ialp_jax import store
from ialp_jax.errors import InputError

LOG_COLUMNS = [
    *("world", "method", "round", "env_steps", "configuration", "values", "seed"),
    *("initial_return", "final_return", "auc_return", "score", "seconds", "key"),
]


GIVEN_COLUMNS = ["world", "method", "values", "key"]


def given_path(log: Path) -> Path:
    """The file of all configurations ever given, beside the log of a world."""
    return log.with_name(f"{log.stem}_given.csv")


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Reads a table of trials; empty if the file is missing. Raises InputError if it is another file."""
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        return pd.read_csv(path, dtype={"key": str, "values": str})[list(columns)]
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not a log of trials ({error}); remove it") from None


def read_given(log: Path) -> pd.DataFrame:
    """The configurations ever given in one world, with `GIVEN_COLUMNS`; those of the log itself included."""
    return with_trials(read_table(given_path(log), GIVEN_COLUMNS), read_table(log, LOG_COLUMNS))


def with_trials(given: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Adds the configurations of trials to the list, once each; the second round has no other ones."""
    tables = [table for table in (given, trials[trials["round"] != 2][GIVEN_COLUMNS]) if len(table)]
    if not tables:
        return given
    return pd.concat(tables, ignore_index=True).drop_duplicates(["method", "key"], ignore_index=True)


class TrialLog:
    """The trials of one world as a CSV file with `LOG_COLUMNS`; rewritten after each trial."""

    def __init__(self, path: Path) -> None:
        """Reads the log if it exists. Raises InputError if the file is not a log."""
        self.path, self.rows = path, read_table(path, LOG_COLUMNS)
        self.given = read_given(path)
        self.used: set[tuple[str, int]] = set()  # (key, round) of the trials that this search needs

    def of(self, key: str, number: int) -> pd.DataFrame:
        """The rows of a trial in a round, one per seed; empty if the trial has not finished."""
        return self.rows[(self.rows.key == key) & (self.rows["round"] == number)]

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Adds a finished trial; its rows replace older rows of the same method, round and configuration."""
        new = pd.DataFrame(rows, columns=LOG_COLUMNS)
        stale = np.ones(len(self.rows), bool)
        for name in ("world", "method", "round", "configuration"):
            stale &= (self.rows[name] == rows[0][name]).to_numpy(bool)
        left = self.rows[~stale]
        self.rows = pd.concat([left, new], ignore_index=True) if len(left) else new
        self.write()

    def forget(self, methods: Sequence[str]) -> None:
        """Deletes all trials of these methods."""
        self.rows = self.rows[~self.rows.method.isin(methods)]
        self.write()

    def keep_used(self, method: str) -> None:
        """Deletes a method's trials that this search did not use; they come from an older search."""
        used = [pair in self.used for pair in zip(self.rows.key, self.rows["round"], strict=True)]
        self.rows = self.rows[(self.rows.method != method) | np.array(used, bool)]
        self.write()

    def write(self) -> None:
        """Writes both tables; the list of configurations first, so that a kill loses none of them."""
        self.given = with_trials(self.given, self.rows)
        store.write_text(given_path(self.path), self.given.to_csv(index=False))
        store.write_text(self.path, self.rows.to_csv(index=False, float_format="%.7g"))

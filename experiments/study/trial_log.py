"""The log of a search's trials: one CSV file per world."""

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


class TrialLog:
    """The trials of one world as a CSV file with `LOG_COLUMNS`; rewritten after each trial."""

    def __init__(self, path: Path) -> None:
        """Reads the log if it exists. Raises InputError if the file is not a log."""
        self.path, self.rows = path, pd.DataFrame(columns=LOG_COLUMNS)
        self.used: set[tuple[str, int]] = set()  # (key, round) of the trials that this search needs
        if path.is_file():
            try:
                self.rows = pd.read_csv(path, dtype={"key": str, "values": str})[LOG_COLUMNS]
            except (ValueError, KeyError) as error:
                raise InputError(f"{path}: not a log of trials ({error}); remove it") from None

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
        """Writes the table."""
        store.write_text(self.path, self.rows.to_csv(index=False, float_format="%.7g"))

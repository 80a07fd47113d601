"""Checkpoints of a training, from which a later process can continue.

Orbax's ``CheckpointManager`` writes a checkpoint in the background, commits it with a rename, lists the
complete ones and removes unfinished files of killed processes. `Checkpoints` adds what orbax lacks:

- A fingerprint of the training: a checkpoint made with other settings is refused, and the error message names
  the difference.
- A sha256 of all arrays: the checksums of orbax do not cover array values, so a flipped bit in a file would
  change results unnoticed.
- Safe deletion of old checkpoints: with ``max_to_keep``, orbax deletes whole folders, even if they contain
  files that this project did not write.
- Support for random keys and empty arrays, which orbax refuses.
- Error messages of one line, a checkpoint before a process ends on request, and a minimum time between two
  checkpoints.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from ialp_jax.errors import InputError, Terminated
from ialp_jax.training.checkpoint_files import remove_all, remove_step
from ialp_jax.training.config import CheckpointConfig
from ialp_jax.training.packing import Rows, pack, sha256, unpack
from ialp_jax.training.params import explained, one_process, require_room
from ialp_jax.training.processes import any_of, by_first, is_first


class Saved(NamedTuple):
    """The content of a checkpoint.

    Attributes:
      step: number of steps done before the checkpoint.
      state: tree of arrays.
      tables: metrics measured before the checkpoint, row by row.
    """

    step: int
    state: Any
    tables: dict[str, Rows]


class Checkpoints:
    """Saves a training at intervals, so that a later process can continue from the last checkpoint.

    A checkpoint is the folder ``<step>/``. Use the object as a context manager. If several processes train
    together, each must make the same calls in the same order: process 0 writes, and each process reads.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        fingerprint: str,
        settings: Mapping[str, Any],
        differences: Callable[[Mapping[str, Any], Mapping[str, Any]], str],
        stopping: Callable[[], bool] = lambda: False,
        replace: bool = False,
    ) -> None:
        """Stores the settings; does not read or write files yet.

        Args:
          folder: folder for the checkpoints of one training.
          config: how often to save, and how many checkpoints to keep.
          fingerprint: fingerprint of all settings and inputs of the training.
          settings: the same settings and inputs as plain data, for error messages.
          differences: function that describes in one line how two values of ``settings`` differ.
          stopping: function that returns whether the process was asked to end.
          replace: whether checkpoints with another fingerprint are deleted.
        """
        self._folder, self._config = folder, config
        self._fingerprint, self._settings, self._differences = fingerprint, settings, differences
        self._stopping, self._replace = stopping, replace
        self._orbax: ocp.CheckpointManager | None = None
        self._last: int | None = None  # step of the newest checkpoint
        self._writing = False  # whether `finish` must still wait for the newest checkpoint
        self._clock = time.monotonic()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until the last checkpoint is complete."""
        self.finish()
        if self._orbax is not None:
            with explained(self._folder, "a checkpoint cannot be written"):
                self._orbax.close()

    def restore(self, like: Any) -> Saved | None:
        """Returns the newest intact checkpoint, or None. Warns about each damaged checkpoint.

        Args:
          like: tree of the state's shapes, dtypes and devices.

        Raises:
          InputError: the checkpoint belongs to another training.
        """
        self._last = by_first(self._newest)
        if self._last is None:
            return None
        arrays, _ = self._read(self._last)
        return Saved(self._last, *unpack(arrays, like, self._folder / str(self._last)))

    def _newest(self) -> int | None:
        """The step of the newest intact checkpoint, or None."""
        for step in reversed(self._steps()):
            folder = self._folder / str(step)
            try:
                _, recipe = self._read(step)
            except InputError as error:
                warnings.warn(f"{error}: this checkpoint is damaged; an earlier one is used", stacklevel=2)
                continue
            if recipe["fingerprint"] == self._fingerprint:
                return step
            if self._replace:
                self.remove()
                return None
            what = self._differences(recipe["settings"], self._settings) or "what it was made from"
            raise InputError(
                f"{folder}: a checkpoint of a training with other settings ({what}); "
                "remove it, or begin anew with --redo"
            )
        return None

    def offer(self, step: int, state: Any, tables: Mapping[str, Rows]) -> None:
        """Saves a checkpoint if enough steps and time have passed since the last one.

        Args:
          step: number of steps done so far.
          state: tree of arrays.
          tables: measurements so far.

        Raises:
          Terminated: the process was asked to end; this step is saved.
          InputError: the checkpoint cannot be written; earlier checkpoints are intact.
        """
        if any_of(self._stopping()):
            self.save(step, state, tables)
            raise Terminated(f"{self._folder}: saved at step {step:,}; the same command continues from there")
        if self._writing and not self._manager().is_saving_in_progress():
            self.finish()
        waited = time.monotonic() - self._clock >= self._config.seconds
        if any_of(is_first() and waited) and step - (self._last or 0) >= self._config.every:
            self._begin(step, state, tables)

    def save(self, step: int, state: Any, tables: Mapping[str, Rows]) -> Path:
        """Saves now, and returns the folder of the checkpoint. Raises InputError like `offer`."""
        if step != self._last:
            self._begin(step, state, tables)
        self.finish()
        return self._folder / str(step)

    def _begin(self, step: int, state: Any, tables: Mapping[str, Rows]) -> None:
        """Copies the arrays and lets orbax write the copy in the background."""
        self.finish()
        arrays = pack(state, tables)
        if is_first():
            recipe = {"fingerprint": self._fingerprint, "settings": self._settings}
            items = ocp.args.Composite(
                arrays=ocp.args.PyTreeSave(arrays),
                recipe=ocp.args.JsonSave({**recipe, "sha256": sha256(arrays, recipe)}),
            )
            with self._written(step):
                remove_step(self._folder, step)  # a damaged checkpoint of this step
                self._folder.mkdir(parents=True, exist_ok=True)
                require_room(self._folder, arrays)
                if (self._folder / str(step)).exists():
                    raise FileExistsError("it contains files that this project did not write; move them away")
                self._manager().reload()
                self._manager().save(step, args=items, force=True)  # even if a damaged checkpoint is newer
            self._writing = True
        self._last = step

    def finish(self) -> None:
        """Waits until the last checkpoint is complete, then removes all except the newest ones."""
        if self._writing and self._last is not None:
            self._writing = False
            with self._written(self._last):
                self._manager().wait_until_finished()
            for old in self._steps()[: -self._config.keep]:
                remove_step(self._folder, old)
            self._clock = time.monotonic()

    def remove(self) -> None:
        """Removes all checkpoints: the training is over."""
        self.finish()
        self._last = None
        if is_first():
            remove_all(self._folder)

    def _manager(self) -> ocp.CheckpointManager:
        if self._orbax is None:
            options = ocp.CheckpointManagerOptions(
                create=False,  # orbax refuses to create the folder in only one of several processes
                cleanup_tmp_directories=is_first(),
                save_root_metadata=False,
                multiprocessing_options=one_process(),
            )
            self._orbax = ocp.CheckpointManager(self._folder.resolve(), options=options)
        return self._orbax

    def _steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        if not self._folder.is_dir():
            return []
        self._manager().reload()
        steps = sorted(self._manager().all_steps())  # may list folders that hold only files of others
        return [step for step in steps if (self._folder / str(step) / "recipe").is_dir()]

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reads the arrays and the recipe of a checkpoint. Raises InputError if it is damaged."""
        folder = self._folder / str(step)
        items = ocp.args.Composite(arrays=ocp.args.PyTreeRestore(), recipe=ocp.args.JsonRestore())
        with explained(folder, "cannot be read"):
            content = self._manager().restore(step, args=items)
            arrays, recipe = content["arrays"], dict(content["recipe"])
            if recipe.pop("sha256") != sha256(arrays, recipe):
                raise ValueError("its sha256 differs")
        return arrays, recipe

    @contextlib.contextmanager
    def _written(self, step: int) -> Iterator[None]:
        """If a checkpoint cannot be written, raises an InputError of one line and removes its files."""
        try:
            with explained(self._folder / str(step), "the checkpoint cannot be written"):
                yield
        except InputError:
            self._orbax = None
            remove_step(self._folder, step)
            raise

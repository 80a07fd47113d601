"""Checkpoints of a training, so that a later process can go on from the last one.

Orbax's ``CheckpointManager`` writes a checkpoint in the background, commits it with a rename, lists the
complete ones and removes unfinished files of killed processes. `Checkpoints` adds what orbax lacks:

- The fingerprint of the training: a checkpoint of other settings is refused, and the settings are named.
- A sha256 of all arrays: the checksums of orbax do not cover their values, and a changed bit must not change
  a result.
- Old checkpoints are deleted here, not by ``max_to_keep``: orbax deletes a whole folder, even if it contains
  files of somebody else.
- Random keys and empty arrays, which orbax refuses.
- Errors are one line. A process that is asked to end saves first. Two checkpoints have a minimum distance in
  time.
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
      step: how far the training had come.
      state: tree of arrays.
      tables: measurements until then, row by row.
    """

    step: int
    state: Any
    tables: dict[str, Rows]


class Checkpoints:
    """Saves a training at intervals, so that a later process can go on from the last checkpoint.

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
        """Takes the settings; it reads and writes nothing yet.

        Args:
          folder: of the checkpoints of one training.
          config: how often to save, and how many checkpoints to keep.
          fingerprint: fingerprint of all settings and inputs of the training.
          settings: the same as plain data, for messages.
          differences: describes in one line how two such settings differ.
          stopping: whether the process was asked to end.
          replace: whether checkpoints with another fingerprint are deleted.
        """
        self._folder, self._config = folder, config
        self._fingerprint, self._settings, self._differences = fingerprint, settings, differences
        self._stopping, self._replace = stopping, replace
        self._orbax: ocp.CheckpointManager | None = None
        self._last: int | None = None  # step of the newest checkpoint
        self._writing = False  # whether orbax writes it in the background, or has just done so
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
        """The newest intact checkpoint, or None. A damaged one gives a warning.

        Args:
          like: tree of the state's shapes, dtypes and devices.

        Raises:
          InputError: it is of another training.
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
        """Saves if enough steps and time have passed.

        Args:
          step: how far the training has come.
          state: tree of arrays.
          tables: measurements so far.

        Raises:
          Terminated: the process was asked to end; this step is saved.
          InputError: it cannot be written; earlier checkpoints are intact.
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
        """Saves now, and returns the folder of the checkpoint. Raises as `offer`."""
        if step != self._last:
            self._begin(step, state, tables)
        self.finish()
        return self._folder / str(step)

    def _begin(self, step: int, state: Any, tables: Mapping[str, Rows]) -> None:
        """Has orbax copy the arrays and write them in the background."""
        self.finish()
        arrays = pack(state, tables)
        if is_first():
            recipe = {"fingerprint": self._fingerprint, "settings": self._settings}
            items = ocp.args.Composite(
                arrays=ocp.args.PyTreeSave(arrays),
                recipe=ocp.args.JsonSave({**recipe, "sha256": sha256(arrays, recipe)}),
            )
            with self._written(step):
                remove_step(self._folder, step)  # a damaged one
                self._folder.mkdir(parents=True, exist_ok=True)
                require_room(self._folder, arrays)
                if (self._folder / str(step)).exists():
                    raise FileExistsError("it contains files that this project did not write; move them away")
                self._manager().reload()
                self._manager().save(step, args=items, force=True)  # also if a damaged one is newer
            self._writing = True
        self._last = step

    def finish(self) -> None:
        """Waits until the last checkpoint is complete, and removes those that are too old."""
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
                create=False,  # orbax refuses to do so in only one of several processes
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
        steps = sorted(self._manager().all_steps())  # also folders that contain only files of others
        return [step for step in steps if (self._folder / str(step) / "recipe").is_dir()]

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and recipe of a checkpoint. Raises InputError if it is damaged."""
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
        """If a checkpoint cannot be written, says so in one line and leaves nothing of it."""
        try:
            with explained(self._folder / str(step), "the checkpoint cannot be written"):
                yield
        except InputError:
            self._orbax = None
            remove_step(self._folder, step)
            raise

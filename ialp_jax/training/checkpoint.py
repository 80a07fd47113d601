"""Parameters, and trainings in mid-course, on disk by orbax."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from ialp_jax import store
from ialp_jax.agents.base import Params
from ialp_jax.errors import InputError, Terminated
from ialp_jax.training.config import CheckpointConfig
from ialp_jax.training.processes import any_of, by_first, host, is_first

STATE = "state"  # orbax's folder within a checkpoint
_STATES = rf"{STATE}(\.orbax-checkpoint-tmp.*)?"  # whole, or while orbax writes it
_FILES = r"arrays\.npz|manifest\.json|\.(arrays\.npz|manifest\.json)\.[0-9a-f]{32}"  # and partial ones
_FAILURES = (ValueError, KeyError, TypeError, OSError, RuntimeError)  # what orbax and tensorstore raise
Rows = list[dict[str, np.ndarray]]  # metric -> array of the same shape in every row


def _checkpointer() -> ocp.StandardCheckpointer:
    """Orbax, which waits for no other process: one writes, and each reads for itself."""
    own = jax.process_index()
    return ocp.StandardCheckpointer(
        multiprocessing_options=ocp.options.MultiprocessingOptions(own, {own}, f"process{own}")
        if jax.process_count() > 1
        else ocp.options.MultiprocessingOptions()
    )


def save_params(folder: Path, params: Params) -> None:
    """Writes a parameter tree to a new folder. Raises InputError if the disk refuses or the folder exists."""
    with _explained(folder, "cannot be written"), _checkpointer() as checkpointer:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_room(folder.parent, params)
        checkpointer.save(folder.resolve(), params)


def load_params(folder: Path, like: Params) -> Params:
    """Reads a parameter tree.

    Args:
      folder: written by `save_params`.
      like: arrays or shapes of the tree that is expected.

    Raises:
      InputError: missing, broken, or of another structure or shape.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such checkpoint; run --stage=pretrain")
    here = SingleDeviceSharding(jax.local_devices()[0])  # whatever devices and processes it was written on
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), like)
    wrong = "not a checkpoint of this network"
    with _explained(folder, wrong), _checkpointer() as checkpointer:
        restored = checkpointer.restore(folder.resolve(), target)
    # By way of the host: orbax ties arrays to a device, and a jitted loop fed with both kinds compiles twice.
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), restored)


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      step: how far the training had come.
      state: tree of arrays.
      tables: what was measured until then, row by row.
    """

    step: int
    state: Any
    tables: dict[str, Rows]


class Checkpoints:
    """Where a training stands, saved now and then: a process that ended is followed by one that goes on.

    A checkpoint is the folder ``<step>/`` with ``state/``, which orbax writes while training goes on, the
    tables in ``arrays.npz`` and, last, a manifest with the sha256 of every file. One without a manifest was
    not finished and counts for nothing. Use it as a context manager. Of several processes, which must call
    its methods alike, process 0 writes and all read.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        key: str,
        settings: Mapping[str, Any],
        differences: Callable[[Mapping[str, Any], Mapping[str, Any]], str],
        stopping: Callable[[], bool] = lambda: False,
        replace: bool = False,
    ) -> None:
        """Takes the settings; nothing is read or written before it must be.

        Args:
          folder: of the checkpoints of one training.
          config: how often, how many.
          key: digest of all that fixes the training.
          settings: the same to be read, as plain data.
          differences: tells in one line how two of them differ.
          stopping: whether the process was asked to end.
          replace: whether checkpoints of another key are given up.
        """
        self._folder, self._config, self._key, self._settings = folder, config, key, settings
        self._differences, self._stopping, self._replace = differences, stopping, replace
        self._writer: ocp.StandardCheckpointer | None = None
        self._pending: tuple[int, dict[str, np.ndarray]] | None = None
        self._last: int | None = None  # step of the newest
        self._clock = time.monotonic()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes what is being written."""
        self.finish()
        if self._writer is not None:
            with _explained(self._folder, "a checkpoint cannot be written"):
                self._writer.close()

    def restore(self, like: Any) -> Saved | None:
        """The newest checkpoint that is intact, or None; one that is damaged is warned about.

        Args:
          like: tree of the state's shapes, dtypes and devices.

        Raises:
          InputError: it is of another training.
        """
        self._last = by_first(self._newest)
        if self._last is None:
            return None
        folder = self._folder / str(self._last)
        arrays = store.read_arrays(folder / "arrays.npz")
        return Saved(self._last, _filled(like, folder / STATE), _unpacked(arrays))

    def _newest(self) -> int | None:
        """The step of the newest checkpoint that is intact, or None."""
        for step in reversed(self._steps()):
            folder = self._folder / str(step)
            try:
                manifest = store.verify(folder)
                store.read_arrays(folder / "arrays.npz")
            except InputError as error:
                reason = re.sub("; (delete .* and )?run its stage again$", "", str(error))
                warnings.warn(f"{reason}: this checkpoint is damaged; an earlier one is used", stacklevel=2)
                continue
            if manifest["key"] != self._key:
                if self._replace:
                    self.remove()
                    return None
                what = self._differences(manifest["settings"], self._settings) or "what it was made from"
                raise InputError(
                    f"{folder}: a checkpoint of a training with other settings ({what}); "
                    "remove it, or begin anew with --redo"
                )
            return step
        return None

    def offer(self, step: int, state: Any, tables: Mapping[str, Rows]) -> None:
        """Saves where it is time to.

        Args:
          step: how far the training has come.
          state: tree of arrays.
          tables: what was measured so far.

        Raises:
          Terminated: the process was asked to end; all is saved.
          InputError: it cannot be written; what was saved before is intact.
        """
        if any_of(self._stopping()):
            self.save(step, state, tables)
            raise Terminated(f"{self._folder}: saved at step {step:,}; the same command goes on from there")
        if self._pending and (self._folder / str(self._pending[0]) / STATE).exists():
            self.finish()
        waited = time.monotonic() - self._clock >= self._config.seconds
        if any_of(is_first() and waited) and step - (self._last or 0) >= self._config.every:
            self._begin(step, state, tables)

    def save(self, step: int, state: Any, tables: Mapping[str, Rows]) -> Path:
        """Saves now, and returns the checkpoint's folder; raises as `offer`."""
        self.finish()
        if step != self._last:
            self._begin(step, state, tables)
            self.finish()
        return self._folder / str(step)

    def _begin(self, step: int, state: Any, tables: Mapping[str, Rows]) -> None:
        """Has orbax copy the state and write it in the background."""
        self.finish()
        folder, leaves = self._folder / str(step), _leaves(state)
        if jax.process_count() > 1:
            leaves = host(leaves)
        if is_first():
            with _written(folder):
                self._writer = self._writer or _checkpointer()
                _drop(folder)  # damaged, or not finished
                folder.mkdir(parents=True, exist_ok=True)
                _require_room(folder, leaves)
                self._writer.save((folder / STATE).resolve(), leaves)
        self._pending = step, _packed(tables)

    def finish(self) -> None:
        """Waits until what is being written is whole, and removes what is too old."""
        if self._pending is None:
            return
        (step, arrays), self._pending = self._pending, None
        folder = self._folder / str(step)
        if is_first():
            with _written(folder):
                self._writer.wait_until_finished()
                store.write_arrays(folder / "arrays.npz", arrays)
                store.seal(folder, {"key": self._key, "settings": self._settings})
            for old in self._steps()[: -self._config.keep]:
                _drop(self._folder / str(old))
        self._last, self._clock = step, time.monotonic()

    def remove(self) -> None:
        """Removes all checkpoints: the training is over."""
        self.finish()
        if is_first():
            remove(self._folder)

    def _steps(self) -> list[int]:
        """Steps of the finished checkpoints, ascending."""
        manifests = self._folder.glob(f"*/{store.MANIFEST}")
        return sorted(int(path.parent.name) for path in manifests if path.parent.name.isdigit())


def remove(folder: Path) -> None:
    """Removes all checkpoints of a training, finished ones and others; files of others stay."""
    for path in folder.glob("*"):
        if path.name.isdigit():
            _drop(path)
    with contextlib.suppress(OSError):  # it is missing, or holds other files
        folder.rmdir()


def _drop(folder: Path) -> None:
    """Removes a checkpoint, whole or not: all that `Checkpoints` and orbax write, and nothing else."""
    for path in folder.glob("*"):
        if path.is_dir() and re.fullmatch(_STATES, path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif re.fullmatch(_FILES, path.name):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _explained(folder: Path, what: str) -> Iterator[None]:
    """Makes one line of what orbax raises."""
    try:
        yield
    except _FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: {what} ({reason})") from None


def _require_room(folder: Path, tree: Any) -> None:
    """Raises OSError where a folder cannot take a tree: orbax would say so in a hundred lines."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size, 1))


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Leaves nothing of a checkpoint that cannot be written, and says so in one line."""
    try:
        with _explained(folder, "the checkpoint cannot be written"):
            yield
    except InputError:
        _drop(folder)
        raise


def _leaves(state: Any) -> dict[str, Any]:
    """The arrays of a tree by number, keys as their data; orbax takes neither keys nor empty arrays."""
    leaves = enumerate(jax.tree.leaves(state))
    return {str(n): jax.random.key_data(x) if _is_key(x) else x for n, x in leaves if x.size}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _filled(like: Any, folder: Path) -> Any:
    """A tree such as ``like`` with the arrays of a checkpoint, on the same devices."""
    found = load_params(folder, jax.eval_shape(_leaves, like))
    leaves, structure = jax.tree.flatten(like)
    for n, leaf in enumerate(leaves):
        if leaf.size:
            value = found[str(n)]
            value = (
                jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else value
            )
            leaves[n] = jax.device_put(value, leaf.sharding) if leaf.committed else value
    return jax.tree.unflatten(structure, leaves)


def _packed(tables: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """``<table>/<metric>`` -> [rows, ...]."""
    return {
        f"{t}/{m}": np.stack([row[m] for row in rows]) for t, rows in tables.items() if rows for m in rows[0]
    }


def _unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, Rows]:
    tables: dict[str, Rows] = {}
    for name, values in arrays.items():
        table, _, metric = name.partition("/")
        rows = tables.setdefault(table, [{} for _ in values])
        for row, value in zip(rows, values, strict=True):
            row[metric] = value
    return tables

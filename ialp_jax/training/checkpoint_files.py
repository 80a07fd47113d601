"""Removes checkpoints, but keeps files in their folders that this project did not write."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

TEMPORARY = ".orbax-checkpoint-tmp"  # part of the name that orbax gives to an unfinished folder
# The files of a checkpoint. Earlier versions of the project wrote state, arrays.npz and manifest.json.
_OURS = rf"(arrays|recipe|state)({re.escape(TEMPORARY)}.*)?|_CHECKPOINT_METADATA|commit_success\.txt"
_OURS += r"|arrays\.npz|manifest\.json|\.(arrays\.npz|manifest\.json)\.[0-9a-f]{32}"


def remove_all(folder: Path) -> None:
    """Removes all checkpoints of a training, complete or not."""
    for path in folder.glob("*"):
        if re.fullmatch(rf"\d+({re.escape(TEMPORARY)}.*)?", path.name):
            _empty(path)
    with contextlib.suppress(OSError):  # the folder is missing, or has other files
        folder.rmdir()


def remove_step(folder: Path, step: int) -> None:
    """Removes one checkpoint of a training, complete or not."""
    for path in (folder / str(step), *folder.glob(f"{step}{TEMPORARY}*")):
        _empty(path)


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):
        if re.fullmatch(_OURS, path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()

"""Folders of arrays with a manifest, written completely or not at all, and verified when read.

A store is a folder with ``arrays.npz`` (no pickle), ``manifest.json`` and optionally further files. The
manifest is written last and holds the sha256 of every other file. A folder without a manifest is incomplete
and counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ialp_jax.errors import InputError, one_line

MANIFEST, ARRAYS = "manifest.json", "arrays.npz"
MARKER = ".ialp_jax"  # file that marks a folder as the project's, see `ialp_jax.claim`
PARTIAL = ".partial"  # suffix of a folder's name while the folder is being written
_CLUTTER = (MARKER, ".DS_Store", "Thumbs.db")  # no manifest lists these files, but they may be deleted
# zipfile and numpy raise these for damaged archives; a flipped bit can look like encryption or compression.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def fingerprint(value: Any) -> str:
    """sha256 of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_fingerprint(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _replacing_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file that replaces ``path`` when it is complete; an error deletes this file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically: readers see the old or the new text, never a part of it."""
    with _replacing_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, with sorted keys."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON object; None if the file is missing. Raises InputError if it is not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object, but {one_line(str(value))[:40]}")
    return value


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes one ``.npz`` atomically. Raises TypeError for arrays that would need pickle."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects; only plain arrays are stored")
    with _replacing_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type] # an array could be named allow_pickle


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads an ``.npz`` without pickle. Raises InputError if the file is missing or broken.

    Refuses compressed files: `write_arrays` writes none, and a small compressed file can expand until it
    fills the memory.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.zip.infolist()):
                raise ValueError("it is compressed, so not written by this project")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a readable array file ({error})") from None


def seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Completes a folder: writes its manifest with the sha256 of every file in it."""
    files = {
        str(path.relative_to(folder)): file_fingerprint(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }
    write_json(folder / MANIFEST, {**manifest, "files": files})


def require_ours(folder: Path) -> None:
    """Checks that a folder may be replaced: it is missing, empty, or holds only files of its manifest.

    Raises:
      InputError: the folder holds a file that its manifest does not list; the message names the file.
    """
    manifest = read_manifest(folder) or {"files": {}}
    ours = {*manifest["files"], MANIFEST, *_CLUTTER}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in ours and path.name not in _CLUTTER:
            raise InputError(f"{folder}: holds {name!r}, which was not written by this project; move it away")


def discard(folder: Path) -> None:
    """Deletes a folder that `seal` completed, if it exists. Raises InputError like `require_ours`."""
    require_ours(folder)
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yields an empty folder, which replaces ``folder`` at the end; an error leaves ``folder`` unchanged.

    The next call removes the partial folders of killed processes. If ``folder`` is a symbolic link, the
    target of the link is replaced.

    Raises:
      InputError: the folder holds files that its manifest does not list, see `require_ours`.
    """
    folder = folder.resolve()
    require_ours(folder)
    pattern = rf"\.{re.escape(folder.name)}\.[0-9a-f]{{32}}{re.escape(PARTIAL)}"
    for leftover in folder.parent.glob(f".*{PARTIAL}"):
        if re.fullmatch(pattern, leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)
    partial, old = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{PARTIAL}") for _ in range(2))
    try:
        partial.mkdir(parents=True)
        yield partial
        require_ours(folder)  # another process may have written to the folder in the meantime
        if folder.exists():
            folder.replace(old)
        partial.replace(folder)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def save(folder: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> None:
    """Replaces ``folder`` with a store of these arrays and this manifest."""
    with replacing(folder) as partial:
        write_arrays(partial / ARRAYS, arrays)
        seal(partial, manifest)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a store; None if the store is incomplete. Raises InputError for an invalid manifest."""
    manifest = read_json(folder / MANIFEST)
    if manifest is not None and not isinstance(manifest.get("files"), dict):
        raise InputError(f"{folder / MANIFEST}: not a manifest (no list of files)")
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Checks every file against its hash and returns the manifest. Raises InputError for a bad file."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: incomplete, it has no {MANIFEST}; run its stage again")
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing, though {MANIFEST} lists it; run its stage again")
        if file_fingerprint(path) != expected:
            raise InputError(
                f"{path}: altered or truncated (sha256 differs); delete this file and run its stage again"
            )
    return manifest


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Verifies a store and returns its arrays and its manifest. Raises InputError for a bad file."""
    manifest = verify(folder)
    if ARRAYS not in manifest["files"]:
        # A folder with a marker also holds files that its manifest does not list, such as LLM answers.
        cheapest = folder / MANIFEST if (folder / MARKER).exists() else folder
        raise InputError(
            f"{folder / MANIFEST}: does not list {ARRAYS}; delete {cheapest} and run its stage again"
        )
    return read_arrays(folder / ARRAYS), manifest

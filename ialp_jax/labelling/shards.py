"""Answers on disk: one file per batch, holding its prompts' addresses, verified by its hash. numpy only.

A store is a folder with one folder per context, named by the fingerprint of all that fixes an answer beside
its prompt (`describe`), with ``context.json`` and the shards ``*.npz``. A shard is written whole or not at
all, by one run, and changed only to repair it, so any number of runs may share a store without locks.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm.modes.answers import Answers, unwritten

CONTEXT = "context.json"
ADDRESS_BYTES = 32
_PARTIAL = r"\..+\.(npz|json)\.[0-9a-f]{32}"  # what `ialp_jax.store` calls a file while it writes it
STALE_SECONDS = 24 * 3600  # a partial file so old has lost its writer, whatever the clocks of a shared disk


class Batch(NamedTuple):
    """The answers to n prompts that went to the model together.

    Attributes:
      answers: to its prompts.
      tokens: tokens that went through the model.
      seconds: spent on it.
    """

    answers: Answers
    tokens: int
    seconds: float


class Shard(NamedTuple):
    """A batch and the prompts that it answers.

    Attributes:
      addresses: of its n prompts, 32 bytes each.
      batch: their answers.
      series: in a plan, the beginning of the names of its shards.
    """

    addresses: list[bytes]
    batch: Batch
    series: str = ""


def describe(folder: Path, facts: Mapping[str, Any], **names: str) -> str:
    """The fingerprint of a context, after writing its facts into the store.

    Args:
      folder: the store; made if it is not there.
      facts: all that fixes an answer beside the prompt, as plain data.
      **names: further facts for a reader, such as the model's name; no part of the fingerprint.

    Raises:
      InputError: the folder cannot be written.
    """
    context = store.fingerprint(facts)
    path = folder / context / CONTEXT
    if not path.exists():
        try:
            store.write_json(path, {**names, "facts": facts})
        except OSError as error:
            raise InputError(f"{folder}: the label store cannot be written ({error.strerror})") from None
    return context


def write(path: Path, context: str, shard: Shard) -> None:
    """Writes a shard atomically. Raises InputError if it cannot be written."""
    arrays = {
        **shard.batch.answers._asdict(),
        "addresses": np.frombuffer(b"".join(shard.addresses), np.uint8).reshape(-1, ADDRESS_BYTES),
        "tokens": np.asarray(shard.batch.tokens),
        "seconds": np.asarray(shard.batch.seconds),
        "series": np.asarray(shard.series),
    }
    try:
        store.write_arrays(path, arrays | {"sha256": np.asarray(_checksum(path, context, arrays))})
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def read(path: Path, context: str) -> Shard:
    """Reads a shard. Raises InputError if it is missing, altered, truncated, or not this one."""
    arrays = store.read_arrays(path)
    if str(arrays.pop("sha256", "")) != _checksum(path, context, arrays):
        raise InputError(f"{path}: altered or truncated (its sha256 differs)")
    if "replies" not in arrays:  # an older shard
        arrays["replies"] = unwritten(arrays["places"])
    return Shard(
        [row.tobytes() for row in arrays["addresses"]],
        Batch(
            Answers(*(arrays[name] for name in Answers._fields)),
            int(arrays["tokens"]),
            float(arrays["seconds"]),
        ),
        str(arrays["series"]),
    )


def load(path: Path, context: str) -> Shard | None:
    """As `read`, but None if the file is missing, and None after a warning if it is damaged."""
    if not path.exists():
        return None
    try:
        return read(path, context)
    except InputError as error:
        warnings.warn(f"{error}; its answers are made again if they are needed", stacklevel=3)
        return None


def scan(folder: Path, context: str, read_before: Collection[str] = ()) -> Iterator[tuple[str, Shard | None]]:
    """The shards of a context's folder by name, in order of names, without those in ``read_before``.

    A damaged one comes as None, after a warning. Files that are being written are left out.
    """
    for path in sorted(folder.glob("*.npz")):
        if path.name not in read_before:
            yield path.name, load(path, context)


def clean(folder: Path) -> None:
    """Deletes the partial files of writers that were killed long ago."""
    for path in folder.glob(".*"):
        if not re.fullmatch(_PARTIAL, path.name):
            continue
        with contextlib.suppress(OSError):  # another run cleans too
            if path.is_file() and path.stat().st_mtime < time.time() - STALE_SECONDS:
                path.unlink()


def _checksum(path: Path, context: str, arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of a shard's content, name and context, so that no shard can replace another."""
    content = hashlib.sha256(f"{context}/{path.name}".encode())
    for name in sorted(arrays):
        array = arrays[name]
        content.update(f"|{name} {array.dtype} {array.shape}|".encode() + array.tobytes())
    return content.hexdigest()

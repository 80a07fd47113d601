"""Stores answers on disk. A shard is a file with one batch of answers, their prompts and a hash. numpy only.

A store is a folder with one subfolder per context. A context is everything that determines an answer, except
the prompt, see `describe`. The name of a subfolder is the fingerprint of its context. A subfolder holds
``context.json`` and the shards ``*.npz``. One run writes each shard atomically. A later write only repairs
damage. So any number of runs may share a store without locks.
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
_PARTIAL = r"\..+\.(npz|json)\.[0-9a-f]{32}"  # names that `ialp_jax.store` gives to unfinished files.
# If an unfinished file is this old, a killed process left it. The limit is high, because clocks differ.
STALE_SECONDS = 24 * 3600


class Batch(NamedTuple):
    """The answers to n prompts that were sent to the model together.

    Attributes:
      answers: answers to the n prompts.
      tokens: number of tokens that the model processed.
      seconds: time that the model needed; with several workers, their mean.
    """

    answers: Answers
    tokens: int
    seconds: float


class Shard(NamedTuple):
    """A batch of answers and the addresses of its prompts.

    Attributes:
      addresses: addresses of the n prompts, 32 bytes each.
      batch: answers to these prompts.
      series: only for plans: the beginning of the file names of the shards that the run will write.
    """

    addresses: list[bytes]
    batch: Batch
    series: str = ""


def describe(folder: Path, facts: Mapping[str, Any], **names: str) -> str:
    """Writes the facts of a context into the store and returns their fingerprint.

    Args:
      folder: the store; created if it is missing.
      facts: everything that determines an answer, except the prompt, as plain data.
      **names: further facts for human readers, such as the model's name; not part of the fingerprint.

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
    """Writes a shard atomically. Raises InputError if the file cannot be written."""
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
    """Reads a shard. Raises InputError if the file is missing, altered, truncated, or a different shard."""
    arrays = store.read_arrays(path)
    if str(arrays.pop("sha256", "")) != _checksum(path, context, arrays):
        raise InputError(f"{path}: altered or truncated (its sha256 differs)")
    if "replies" not in arrays:  # written by an older version
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
    """Like `read`, but returns None if the file is missing or damaged. Warns if it is damaged."""
    if not path.exists():
        return None
    try:
        return read(path, context)
    except InputError as error:
        warnings.warn(f"{error}; its answers are computed again if they are needed", stacklevel=3)
        return None


def scan(folder: Path, context: str, read_before: Collection[str] = ()) -> Iterator[tuple[str, Shard | None]]:
    """Yields (name, shard) for each shard in the folder of a context, except the names in ``read_before``.

    The shards are sorted by name. If a shard is damaged, the function warns and yields None instead of the
    shard. The function skips files that are being written.
    """
    for path in sorted(folder.glob("*.npz")):
        if path.name not in read_before:
            yield path.name, load(path, context)


def clean(folder: Path) -> None:
    """Deletes old unfinished files of killed processes."""
    for path in folder.glob(".*"):
        if not re.fullmatch(_PARTIAL, path.name):
            continue
        with contextlib.suppress(OSError):  # another run may delete the same file
            if path.is_file() and path.stat().st_mtime < time.time() - STALE_SECONDS:
                path.unlink()


def _checksum(path: Path, context: str, arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of a shard's content, name and context, so that damage and wrong file names are detected."""
    content = hashlib.sha256(f"{context}/{path.name}".encode())
    for name in sorted(arrays):
        array = arrays[name]
        content.update(f"|{name} {array.dtype} {array.shape}|".encode() + array.tobytes())
    return content.hexdigest()

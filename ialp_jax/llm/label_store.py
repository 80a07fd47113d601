"""Answers to prompts on disk: nothing is asked twice, and what was asked gives the same bits for ever.

The bits of an answer depend on the batch in which it was computed, so a batch is the unit of storage: one
atomic file, found again by the content of all that it depends on, used whole or computed again whole.
Prompts of completed earlier requests are answered from memory; all others form batches before any
look-up on disk. A run that is killed and begun again therefore ends with the arrays of one that was
not, as long as it asks the same requests in the same order.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm.answers import Answers
from ialp_jax.llm.prompts import Template, sanitise


class Batch(NamedTuple):
    """What a batch of n prompts gave.

    Attributes:
      answers: to its prompts.
      tokens: tokens that went through the model.
      seconds: what it took.
    """

    answers: Answers
    tokens: int
    seconds: float


Compute = Callable[[list[tuple[np.ndarray, np.ndarray]]], Sequence[Batch]]


class LabelStore:
    """The answers of one run."""

    def __init__(
        self, folder: Path, context: str, titles: Sequence[str], template: Template, shard_size: int
    ) -> None:
        """Opens a store.

        Args:
          folder: of the shards; made when the first one is written.
          context: digest of all that fixes a score beside the prompt: model, template, normalisation, dtype.
          titles: N + 1 titles; prompts are known by their text, not by item ids.
          template: what of a title is shown.
          shard_size: prompts per batch.
        """
        self._folder = folder
        self._context = context.encode()
        self._shard_size = shard_size
        self._known: dict[bytes, Answers] = {}  # of one prompt each, without the leading axis
        texts = [b"", *(sanitise(title, template.max_title).encode() for title in titles[1:])]
        digests = [hashlib.sha256(text).digest()[:16] for text in texts]
        self._titles = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)

    def prompt_keys(self, histories: np.ndarray, candidates: np.ndarray) -> list[bytes]:
        """Addresses of P prompts within the context; histories int [P, L], candidates int [P, K]."""
        return [
            hashlib.sha256(
                self._titles[history[history > 0]].tobytes() + b"|" + self._titles[asked].tobytes()
            ).digest()
            for history, asked in zip(histories, candidates, strict=True)
        ]

    def answers(
        self, histories: np.ndarray, candidates: np.ndarray, compute: Compute
    ) -> tuple[Answers, list[Batch]]:
        """Answers one request.

        Args:
          histories: int32 [P, L].
          candidates: int32 [P, K].
          compute: scores the batches, each histories [n, L] and candidates [n, K], that are not stored; it is
            not called where there are none.

        Returns:
          The answers to the P prompts, and the batches that this request added, stored ones included.
        """
        addresses = self.prompt_keys(histories, candidates)
        fresh: dict[bytes, int] = {}  # of equal prompts, the first
        for p, address in enumerate(addresses):
            if address not in self._known:
                fresh.setdefault(address, p)
        rows = np.fromiter(fresh.values(), np.int64, len(fresh))
        parts = [rows[i : i + self._shard_size] for i in range(0, len(rows), self._shard_size)]
        paths = [self._path([addresses[p] for p in part]) for part in parts]
        shapes = [(len(part), candidates.shape[1]) for part in parts]
        batches = [self._read(path, shape) for path, shape in zip(paths, shapes, strict=True)]
        missing = [i for i, batch in enumerate(batches) if batch is None]
        if missing:
            computed = compute([(histories[parts[i]], candidates[parts[i]]) for i in missing])
            for i, batch in zip(missing, computed, strict=True):
                self._write(paths[i], batch)
                batches[i] = batch
        for part, batch in zip(parts, batches, strict=True):
            rows = (Answers(*row) for row in zip(*batch.answers, strict=True))
            self._known.update(zip((addresses[p] for p in part), rows, strict=True))
        if not addresses:
            return Answers.empty(candidates.shape[1]), batches
        known = [self._known[address] for address in addresses]
        return Answers(*(np.stack(column) for column in zip(*known, strict=True))), batches

    def _path(self, addresses: list[bytes]) -> Path:
        name = hashlib.sha256(self._context + b"".join(addresses)).hexdigest()
        return self._folder / name[:2] / f"{name}.npz"

    def _write(self, path: Path, batch: Batch) -> None:
        arrays = {
            **batch.answers._asdict(),
            "tokens": np.asarray(batch.tokens),
            "seconds": np.asarray(batch.seconds),
        }
        store.write_arrays(path, arrays | {"sha256": np.asarray(_checksum(path, arrays))})

    def _read(self, path: Path, shape: tuple[int, int]) -> Batch | None:
        if not path.exists():
            return None
        try:
            arrays = store.read_arrays(path)
            if str(arrays.pop("sha256")) == _checksum(path, arrays):
                answers = Answers(*(arrays[name] for name in Answers._fields))
                batch = Batch(answers, int(arrays["tokens"]), float(arrays["seconds"]))
                if answers.scores.shape == shape:
                    return batch
            reason = "its sha256 differs"
        except (InputError, KeyError) as error:
            reason = f"{error}"
        warnings.warn(f"{path}: altered or truncated ({reason}); these labels are made again", stacklevel=4)
        return None


def _checksum(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """sha256 of a shard's content and of its address, so that no shard can stand in for another."""
    content = hashlib.sha256(path.name.encode())
    for name in sorted(arrays):
        content.update(name.encode() + str(arrays[name].dtype).encode() + arrays[name].tobytes())
    return content.hexdigest()

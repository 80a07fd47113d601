"""A store of answers. It never asks a prompt twice, and a run always gets the same answer to a prompt.

A prompt is identified by its text. All runs that share a store share its answers, see
`ialp_jax.labelling.shards`.

The last bits of an answer depend on the batch that computed it. The content of a shared store changes with
time. So the run plans each request before it computes anything, and writes the plan into its own folder. A
plan holds the answers that the store has now, and the file names of the batches that will be computed. A
batch has ``shard_size`` prompts, in the order of the request.

A run that was killed makes the same requests in the same order when it starts again. It reads its plans. If a
batch is missing, it computes the whole batch again. So it ends with the same arrays as a run that was never
killed, even if other runs have changed the store.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ialp_jax.labelling import shards
from ialp_jax.labelling.shards import Batch, Shard
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.templates import Template, sanitise
from ialp_jax.types import Prompts

Compute = Callable[[list[Prompts]], Iterable[Batch]]
Places = dict[bytes, tuple[Answers, int]]  # address -> a block of answers and the row in it


class LabelStore:
    """The answers of one run, read from and written to a store that other runs may share.

    Attributes:
      taken: number of different prompts whose answers were already stored when the run asked for them.
    """

    def __init__(
        self,
        folder: Path,
        plans: Path,
        context: str,
        titles: Sequence[str],
        template: Template,
        shard_size: int,
    ) -> None:
        """Sets the folders. The store reads or creates a folder only when it needs it.

        Args:
          folder: the store.
          plans: folder that belongs to this run only.
          context: fingerprint from `shards.describe`. It covers everything that determines an answer, except
            the prompt.
          titles: N + 1 titles. Prompts are identified by the text of their titles, not by item ids.
          template: determines how many characters of a title the prompt shows.
          shard_size: prompts per batch.
        """
        self._folder, self._plans = Path(folder) / context, Path(plans) / context
        self._context, self._shard_size = context, shard_size
        self.taken = 0
        self._known: Places = {}  # answers that this run has used
        self._stored: Places = {}  # answers in the store when it was last read
        self._shards: dict[str, Shard | None] = {}
        texts = [b"", *(sanitise(title, template.max_title).encode() for title in titles[1:])]
        digests = [hashlib.sha256(text).digest()[:16] for text in texts]
        self._titles = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)

    def addresses(self, prompts: Prompts) -> list[bytes]:
        """Addresses within the context: sha256 of the text of each of P prompts."""
        return [
            hashlib.sha256(
                self._titles[history[history > 0]].tobytes() + b"|" + self._titles[offered].tobytes()
            ).digest()
            for history, offered in zip(prompts.histories, prompts.candidates, strict=True)
        ]

    def answers(self, prompts: Prompts, compute: Compute) -> tuple[Answers, list[Batch]]:
        """Returns answers to one request and stores new ones.

        Args:
          prompts: P prompts.
          compute: function that scores a batch whose answers are not stored.

        Returns:
          The answers to the P prompts, and the batches that the request added to the store. An earlier
          process of the run may have added some of these batches. They do not contain the answers that were
          already in the store.
        """
        addresses = self.addresses(prompts)
        fresh: dict[bytes, int] = {}  # the first of equal prompts
        for p, address in enumerate(addresses):
            if address not in self._known:
                fresh.setdefault(address, p)
        batches = self._fill(fresh, prompts, compute) if fresh else []
        return _gather(self._known, addresses, prompts.candidates.shape[1]), batches

    def find(self, prompts: Prompts) -> list[tuple[Answers, int] | None]:
        """Looks up P prompts. Returns a block of answers and a row in it for each, or None."""
        self._read_new_shards()
        for _, plan in shards.scan(self._plans, self._context):
            if plan is not None:
                _index(self._stored, plan)
        return [self._stored.get(address) for address in self.addresses(prompts)]

    def _fill(self, fresh: dict[bytes, int], prompts: Prompts, compute: Compute) -> list[Batch]:
        """Puts the answers to all fresh prompts (address -> row of the request) into ``self._known``."""
        self._read_new_shards()
        plan = self._plan(list(fresh), prompts.candidates.shape[1])
        _index(self._known, plan)
        self.taken += len(plan.addresses)
        to_compute = [address for address in fresh if address not in self._known]
        parts = [to_compute[i : i + self._shard_size] for i in range(0, len(to_compute), self._shard_size)]
        names = [f"{plan.series}-{i:05d}.npz" for i in range(len(parts))]
        shards_by_name = {name: self._shards[name] for name in names if self._shards.get(name)}
        missing = [
            (name, part) for name, part in zip(names, parts, strict=True) if name not in shards_by_name
        ]
        if missing:
            rows = [np.array([fresh[address] for address in part]) for _, part in missing]
            computed = compute([prompts.rows(row) for row in rows])
            for (name, part), batch in zip(missing, computed, strict=True):
                shards_by_name[name] = self._shards[name] = Shard(part, batch)
                shards.write(self._folder / name, self._context, shards_by_name[name])
        for name in names:
            _index(self._known, shards_by_name[name])
        return [shards_by_name[name].batch for name in names]

    def _plan(self, fresh: list[bytes], num_candidates: int) -> Shard:
        """Reads or makes the plan of a request: stored answers, and batch names for the missing ones."""
        content = f"{self._context}|{self._shard_size}|".encode() + b"".join(fresh)
        path = self._plans / f"{hashlib.sha256(content).hexdigest()}.npz"
        plan = shards.load(path, self._context)
        if plan is None:
            for folder in (self._folder, self._plans):
                shards.clean(folder)
            taken = [address for address in fresh if address in self._stored]
            answers = _gather(self._stored, taken, num_candidates)
            plan = Shard(taken, Batch(answers, tokens=0, seconds=0.0), series=uuid.uuid4().hex)
            shards.write(path, self._context, plan)
        return plan

    def _read_new_shards(self) -> None:
        """Reads the shards that have not been read yet."""
        for name, shard in shards.scan(self._folder, self._context, self._shards):
            self._shards[name] = shard
            if shard is not None:
                _index(self._stored, shard)


def _index(places: Places, shard: Shard) -> None:
    """Adds the places of a shard's answers. If a prompt has several answers, the first one counts."""
    for row, address in enumerate(shard.addresses):
        places.setdefault(address, (shard.batch.answers, row))


def _gather(places: Mapping[bytes, tuple[Answers, int]], addresses: list[bytes], count: int) -> Answers:
    """Collects the answers [P] to P addresses of ``count`` candidates each."""
    if not addresses:
        return Answers.empty(count)
    rows = [places[address] for address in addresses]
    return Answers(*(np.stack([block[i][row] for block, row in rows]) for i in range(len(Answers._fields))))

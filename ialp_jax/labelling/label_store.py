"""Stores answers, so that the model answers each prompt only once and a run always gets the same answer.

A prompt is identified by its text. Several runs can share a store and its answers, see
`ialp_jax.labelling.shards`.

The last bits of an answer's scores depend on the other prompts in the batch, and other runs may change a
shared store. So a run makes a plan for each request before it computes anything, and saves the plan in its
own folder. A plan holds the answers that are already in the store, and the file names of the batches that the
run must compute. A batch has up to ``shard_size`` prompts, in the order of the request.

After a restart, a killed run makes the same requests in the same order, and reads its plans. If the file of a
batch is missing, the run computes the whole batch again. So a restarted run gets the same arrays as a run
without interruption, even if other runs have changed the store.
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
Places = dict[bytes, tuple[Answers, int]]  # address of a prompt -> block of answers, row of its answer


class LabelStore:
    """Reads and writes the answers of one run. Other runs may use the same store.

    Attributes:
      taken: number of different prompts whose answers were already stored when the run first requested them.
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
        """Stores the settings. Folders are read or created only when they are needed.

        Args:
          folder: the store.
          plans: folder that belongs to this run only.
          context: fingerprint from `shards.describe`, of everything that determines an answer, except the
            prompt.
          titles: N + 1 titles. Prompts are identified by the text of their titles, not by item ids.
          template: determines how many characters of a title the prompt shows.
          shard_size: prompts per batch.
        """
        self._folder, self._plans = Path(folder) / context, Path(plans) / context
        self._context, self._shard_size = context, shard_size
        self.taken = 0
        self._known: Places = {}  # answers that this run has already used.
        self._stored: Places = {}  # answers that were in the store when it was last read
        self._shards: dict[str, Shard | None] = {}
        texts = [b"", *(sanitise(title, template.max_title).encode() for title in titles[1:])]
        digests = [hashlib.sha256(text).digest()[:16] for text in texts]
        self._titles = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)

    def addresses(self, prompts: Prompts) -> list[bytes]:
        """Returns the address of each of P prompts in the context: a sha256 of the titles in the prompt."""
        return [
            hashlib.sha256(
                self._titles[history[history > 0]].tobytes() + b"|" + self._titles[offered].tobytes()
            ).digest()
            for history, offered in zip(prompts.histories, prompts.candidates, strict=True)
        ]

    def answers(self, prompts: Prompts, compute: Compute) -> tuple[Answers, list[Batch]]:
        """Returns the answers to one request. Computes and stores the answers that the store lacks.

        Args:
          prompts: P prompts.
          compute: function that answers batches of prompts without stored answers.

        Returns:
          The answers to the P prompts, and the batches that this request added to the store. The batches may
          come from an earlier process of the run. They exclude answers that the request found in the store.
        """
        addresses = self.addresses(prompts)
        fresh: dict[bytes, int] = {}  # the first of equal prompts
        for p, address in enumerate(addresses):
            if address not in self._known:
                fresh.setdefault(address, p)
        batches = self._fill(fresh, prompts, compute) if fresh else []
        return _gather(self._known, addresses, prompts.candidates.shape[1]), batches

    def find(self, prompts: Prompts) -> list[tuple[Answers, int] | None]:
        """Looks up P prompts. Returns (block of answers, row) for each stored answer, else None."""
        self._read_new_shards()
        for _, plan in shards.scan(self._plans, self._context):
            if plan is not None:
                _index(self._stored, plan)
        return [self._stored.get(address) for address in self.addresses(prompts)]

    def _fill(self, fresh: dict[bytes, int], prompts: Prompts, compute: Compute) -> list[Batch]:
        """Adds the answers to the ``fresh`` prompts (address -> row of the request) to ``self._known``."""
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
        """Reads or makes the plan of a request: stored answers, and the file names of batches to compute."""
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
        """Reads the shards that this process has not read yet."""
        for name, shard in shards.scan(self._folder, self._context, self._shards):
            self._shards[name] = shard
            if shard is not None:
                _index(self._stored, shard)


def _index(places: Places, shard: Shard) -> None:
    """Adds the answers of a shard to ``places``. A prompt that has an answer there keeps this answer."""
    for row, address in enumerate(shard.addresses):
        places.setdefault(address, (shard.batch.answers, row))


def _gather(places: Mapping[bytes, tuple[Answers, int]], addresses: list[bytes], count: int) -> Answers:
    """Collects the answers for P addresses. Each prompt has ``count`` candidates."""
    if not addresses:
        return Answers.empty(count)
    rows = [places[address] for address in addresses]
    return Answers(*(np.stack([block[i][row] for block, row in rows]) for i in range(len(Answers._fields))))

"""Answers to prompts: nothing is asked twice, and a run always gets the same answer to the same prompt.

A prompt is identified by its text, and its answer is shared by all runs that share a store, see
`ialp_jax.labelling.shards`. The bits of an answer depend on the batch that computed it, and the content of a
shared store changes with time. So a request is planned before anything is computed, and the plan is written
into the run's own folder: the answers that the store holds now, and the name under which the rest will be
stored, batch by batch, ``shard_size`` prompts each in the order of the request. A run that is killed and
begun again makes the same requests in the same order, reads its plans, and ends with the same arrays as an
undisturbed run, even if other runs have changed the store meanwhile: a missing batch is computed again whole.
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
    """The answers of one run, over a store that it may share.

    Attributes:
      taken: different prompts of the requests so far whose answers were in the store before they were asked.
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
        """Names the folders; they are read and made when they are needed.

        Args:
          folder: the store.
          plans: of this run alone.
          context: fingerprint of all that fixes an answer beside the prompt, from `shards.describe`.
          titles: N + 1 titles; prompts are identified by their text, not by item ids.
          template: says how much of a title is shown.
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
        """sha256 of the text of each of P prompts: its address within the context."""
        return [
            hashlib.sha256(
                self._titles[history[history > 0]].tobytes() + b"|" + self._titles[offered].tobytes()
            ).digest()
            for history, offered in zip(prompts.histories, prompts.candidates, strict=True)
        ]

    def answers(self, prompts: Prompts, compute: Compute) -> tuple[Answers, list[Batch]]:
        """Answers one request.

        Args:
          prompts: P of them.
          compute: scores the batches that are not stored; it is not called if all are.

        Returns:
          The answers to the P prompts, and the batches of this run that the request added, including those
          that an earlier process of the run computed; answers taken from the store are in none of them.
        """
        addresses = self.addresses(prompts)
        fresh: dict[bytes, int] = {}  # of equal prompts, the first
        for p, address in enumerate(addresses):
            if address not in self._known:
                fresh.setdefault(address, p)
        batches = self._fill(fresh, prompts, compute) if fresh else []
        return _gather(self._known, addresses, prompts.candidates.shape[1]), batches

    def find(self, prompts: Prompts) -> list[tuple[Answers, int] | None]:
        """Looks P prompts up and changes nothing: for each, a block of answers and the row in it, or None."""
        self._read_new_shards()
        for _, plan in shards.scan(self._plans, self._context):
            if plan is not None:
                _index(self._stored, plan)
        return [self._stored.get(address) for address in self.addresses(prompts)]

    def _fill(self, fresh: dict[bytes, int], prompts: Prompts, compute: Compute) -> list[Batch]:
        """Makes the answers to all fresh prompts (address -> row of the request) known."""
        self._read_new_shards()
        plan = self._plan(list(fresh), prompts.candidates.shape[1])
        _index(self._known, plan)
        self.taken += len(plan.addresses)
        rest = [address for address in fresh if address not in self._known]
        parts = [rest[i : i + self._shard_size] for i in range(0, len(rest), self._shard_size)]
        names = [f"{plan.series}-{i:05d}.npz" for i in range(len(parts))]
        held = {name: self._shards[name] for name in names if self._shards.get(name)}
        missing = [(name, part) for name, part in zip(names, parts, strict=True) if name not in held]
        if missing:
            rows = [np.array([fresh[address] for address in part]) for _, part in missing]
            computed = compute([prompts.rows(row) for row in rows])
            for (name, part), batch in zip(missing, computed, strict=True):
                held[name] = self._shards[name] = Shard(part, batch)
                shards.write(self._folder / name, self._context, held[name])
        for name in names:
            _index(self._known, held[name])
        return [held[name].batch for name in names]

    def _plan(self, fresh: list[bytes], num_candidates: int) -> Shard:
        """The plan of a request, read or made: answers taken from the store, and the series of the rest."""
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
        """Reads the shards that were not read yet."""
        for name, shard in shards.scan(self._folder, self._context, self._shards):
            self._shards[name] = shard
            if shard is not None:
                _index(self._stored, shard)


def _index(places: Places, shard: Shard) -> None:
    """Notes the places of a shard's answers; of several answers to a prompt, the first counts."""
    for row, address in enumerate(shard.addresses):
        places.setdefault(address, (shard.batch.answers, row))


def _gather(places: Mapping[bytes, tuple[Answers, int]], addresses: list[bytes], count: int) -> Answers:
    """The answers [P] to P addresses of ``count`` candidates each."""
    if not addresses:
        return Answers.empty(count)
    rows = [places[address] for address in addresses]
    return Answers(*(np.stack([block[i][row] for block, row in rows]) for i in range(len(Answers._fields))))

"""Answers to prompts: nothing is asked twice, and what a run was told once it is told for ever.

A prompt is known by its text, and its answer is shared by all runs that share a store, see
`ialp_jax.labelling.shards`. The bits of an answer depend on the batch that computed it, and what a shared
store holds depends on the moment. So a request is planned before anything is computed, and the plan is
written into the run's own folder: the answers that the store held at that moment, and the name under which
the rest will be stored, batch by batch, ``shard_size`` prompts each in the order of the request. A run that
is killed and begun again makes the same requests in the same order, finds its plans, and ends with the
arrays of one that was not disturbed, whatever other runs have done to the store meanwhile: a batch that is
missing is computed again whole.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ialp_jax.labelling import shards
from ialp_jax.labelling.shards import Batch, Shard
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.prompts import Template, sanitise

Compute = Callable[[list[tuple[np.ndarray, np.ndarray]]], Sequence[Batch]]
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
          context: digest of all that fixes an answer beside the prompt, from `shards.describe`.
          titles: N + 1 titles; prompts are known by their text, not by item ids.
          template: what of a title is shown.
          shard_size: prompts per batch.
        """
        self._folder, self._plans = Path(folder) / context, Path(plans) / context
        self._context, self._shard_size = context, shard_size
        self.taken = 0
        self._known: Places = {}  # what this run was told
        self._stored: Places = {}  # what the store held when it was last looked at
        self._shards: dict[str, Shard | None] = {}
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
          The answers to the P prompts, and the batches of this run that the request added, those included
          that an earlier process of it computed; what was taken from the store is in none of them.
        """
        addresses = self.prompt_keys(histories, candidates)
        fresh: dict[bytes, int] = {}  # of equal prompts, the first
        for p, address in enumerate(addresses):
            if address not in self._known:
                fresh.setdefault(address, p)
        batches = self._fill(fresh, histories, candidates, compute) if fresh else []
        return _gather(self._known, addresses, candidates.shape[1]), batches

    def find(self, histories: np.ndarray, candidates: np.ndarray) -> list[tuple[Answers, int] | None]:
        """Looks P prompts up and changes nothing: for each, a block of answers and the row in it, or None."""
        self._look()
        for _, plan in shards.scan(self._plans, self._context):
            if plan is not None:
                _index(self._stored, plan)
        return [self._stored.get(address) for address in self.prompt_keys(histories, candidates)]

    def _fill(
        self, fresh: dict[bytes, int], histories: np.ndarray, candidates: np.ndarray, compute: Compute
    ) -> list[Batch]:
        """Makes the answers to all fresh prompts (address -> row of the request) known."""
        self._look()
        plan = self._plan(list(fresh), candidates.shape[1])
        _index(self._known, plan)
        self.taken += len(plan.addresses)
        rest = [address for address in fresh if address not in self._known]
        parts = [rest[i : i + self._shard_size] for i in range(0, len(rest), self._shard_size)]
        names = [f"{plan.series}-{i:05d}.npz" for i in range(len(parts))]
        held = {name: self._shards[name] for name in names if self._shards.get(name)}
        missing = [(name, part) for name, part in zip(names, parts, strict=True) if name not in held]
        if missing:
            rows = [np.array([fresh[address] for address in part]) for _, part in missing]
            computed = compute([(histories[row], candidates[row]) for row in rows])
            for (name, part), batch in zip(missing, computed, strict=True):
                held[name] = self._shards[name] = Shard(part, batch)
                shards.write(self._folder / name, self._context, held[name])
        for name in names:
            _index(self._known, held[name])
        return [held[name].batch for name in names]

    def _plan(self, fresh: list[bytes], num_candidates: int) -> Shard:
        """The plan of a request, found or made: answers taken from the store, and the series of the rest."""
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

    def _look(self) -> None:
        """Reads the shards that are not known yet."""
        for name, shard in shards.scan(self._folder, self._context, self._shards):
            self._shards[name] = shard
            if shard is not None:
                _index(self._stored, shard)


def _index(places: Places, shard: Shard) -> None:
    """Notes where the answers of a shard are; of several answers to a prompt, the first counts."""
    for row, address in enumerate(shard.addresses):
        places.setdefault(address, (shard.batch.answers, row))


def _gather(places: Mapping[bytes, tuple[Answers, int]], addresses: list[bytes], count: int) -> Answers:
    """The answers [P] to P addresses of ``count`` candidates each."""
    if not addresses:
        return Answers.empty(count)
    found = [places[address] for address in addresses]
    return Answers(*(np.stack([block[i][row] for block, row in found]) for i in range(len(Answers._fields))))

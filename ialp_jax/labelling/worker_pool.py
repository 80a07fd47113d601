"""Several worker processes on one machine that share the prompts of a request (``llm.workers``).

The first worker sorts the prompts of each part by length, and the pool cuts them into batches. So a batch has
the same prompts for any number of workers, and so have its answers the same bits. An idle worker takes the
next batch, also of the next part.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.labelling.shards import Batch
from ialp_jax.labelling.worker_process import Answer, WorkerProcess
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.types import Prompts


class WorkerPool:
    """A worker that is already loaded, and further workers that the pool starts. `close` ends the latter."""

    def __init__(self, first: WorkerProcess, count: int, log: Path) -> None:
        """Starts ``count - 1`` processes; worker n writes the traceback of a failure beside ``log``."""
        names = (f"{log.stem}-{number}{log.suffix}" for number in range(2, count + 1))
        self._others = [WorkerProcess(log.with_name(name)) for name in names]
        self._first, self._count = first, count
        self._executor = ThreadPoolExecutor(count)
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in (first, *self._others):
            self._idle.put(worker)

    def load(self, order: dict[str, Any]) -> None:
        """Sends an order to all workers except the first. Raises InputError if one reports an error."""
        list(self._executor.map(lambda worker: worker.ask(order), self._others))

    def answers(self, parts: Sequence[Prompts], batch_size: int) -> Iterator[Batch]:
        """Yields the answers to each part.

        Raises:
          InputError: a worker reports an error, or it died.
        """
        orders = [self._first.ask({"do": "order"}, **part.arrays())[1]["order"] for part in parts]
        batches = [
            [
                self._executor.submit(self._ask, part.rows(rows))
                for rows in np.split(order, range(batch_size, len(order), batch_size))
            ]
            for part, order in zip(parts, orders, strict=True)
        ]
        try:
            for order, waiting in zip(orders, batches, strict=True):
                replies = [future.result() for future in waiting]
                yield Batch(
                    Answers.joined([Answers(**arrays) for _, arrays in replies], order),
                    sum(header["tokens"] for header, _ in replies),
                    sum(header["seconds"] for header, _ in replies) / self._count,
                )
        finally:  # if a worker failed, the others do not continue
            for future in (future for waiting in batches for future in waiting):
                future.cancel()

    def _ask(self, prompts: Prompts) -> Answer:
        """Lets the next idle worker answer prompts."""
        worker = self._idle.get()
        try:
            return worker.ask({"do": "score"}, **prompts.arrays())
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Ends the workers that the pool started."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in self._others:
            worker.close()

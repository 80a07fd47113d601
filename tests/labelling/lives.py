"""Kills label processes at random moments: ``python lives.py kill|kill_shared|race FOLDER``.

This script forks its label processes, because a fork takes only a few milliseconds. The tests start the
script as a separate process, because they must not fork themselves.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from small_world import prompts as draw
from small_world import titles

from ialp_jax import store
from ialp_jax.labelling.label_store import LabelStore
from ialp_jax.labelling.shards import Batch
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting import templates

REQUESTS = [draw(40, seed=seed) for seed in range(8)]
BATCHES = 80  # number of batches of 4 prompts that a run computes if its store is empty
KILLS = 24
PAUSE, LONGEST, SHORT = 0.012, 0.025, 0.002  # seconds


def label(
    run: Path,
    shared: Path | None,
    requests: Sequence = REQUESTS,
    size: int = 4,
    pause: float = 0,
    pipe: int = -1,
) -> Answers:
    """Labels all requests of a run once. Writes a byte to ``pipe`` for each computed batch."""

    def model(parts):
        for part in parts:
            time.sleep(pause)
            if pipe >= 0:
                os.write(pipe, b".")
            noise = 1e-4 * (
                part.histories.sum() % 97
            )  # this noise depends on the whole batch, like the last bits of a real model's scores
            scores = part.candidates / 100 + part.histories.sum(1, keepdims=True) + noise
            yield Batch(Answers.from_scores(scores), 1, 1.0)

    answers = LabelStore(
        shared or run / "shards", run / "plans", "model", titles(), templates.TEMPLATES["titles"], size
    )
    answers_by_request = [answers.answers(request, model)[0] for request in requests]
    return Answers(*(np.concatenate(column) for column in zip(*answers_by_request, strict=True)))


def fork(run: Path, shared: Path | None, pipe: int, requests: Sequence = REQUESTS) -> int:
    """Forks a process that labels all requests and, at the end, writes its answers to ``answers.npz``."""
    pid = os.fork()
    if pid == 0:
        try:
            warnings.simplefilter("error")  # damaged files give a warning, but no process may leave any
            store.write_arrays(run / "answers.npz", label(run, shared, requests, 4, PAUSE, pipe)._asdict())
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def kill(run: Path, shared: Path | None) -> dict[str, int]:
    """Kills a run `KILLS` times, and lets it finish. In between, other runs fill a shared store."""
    generator, (ear, pipe) = np.random.default_rng(0), os.pipe()
    killed = computed = 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        pid = fork(run, shared, pipe)
        if killed < KILLS:
            storing = generator.random() < 0.6  # wait until the run stores a batch
            if storing:
                select.select([ear], [], [], 10)
            time.sleep(generator.uniform(0, SHORT if storing else LONGEST))
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        killed += code == -signal.SIGKILL
        while select.select([ear], [], [], 0)[0]:
            computed += len(os.read(ear, 1 << 16))
        started_requests = REQUESTS[: len(list(run.rglob("plans/*/*.npz")))]
        if shared is not None and started_requests:
            rows = generator.permutation(40)[:20]
            backward_requests = [request.rows(rows) for request in started_requests[::-1]]
            label(run.parent / f"other {killed}", shared, backward_requests, size=7)
    assert code == 0
    return {"killed": killed, "computed": computed}


def race(folder: Path) -> dict[str, int]:
    """Starts two runs that share a store and label the same requests in opposite order."""
    ear, pipe = os.pipe()
    orders = {"a": REQUESTS, "b": REQUESTS[::-1]}
    pids = [fork(folder / run, folder / "shared", pipe, order) for run, order in orders.items()]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.close(pipe)
    return {"failed": sum(map(abs, codes)), "computed": len(os.read(ear, 1 << 16))}


if __name__ == "__main__":
    what, root = sys.argv[1], Path(sys.argv[2])
    if what == "race":
        print(json.dumps(race(root)))
    else:
        print(json.dumps(kill(root / "run", root / "shared" if what == "kill_shared" else None)))

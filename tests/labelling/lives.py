"""Label runs in processes that are killed at random moments: ``python lives.py kill|race FOLDER``.

In a process of its own, so that it may fork: a life then costs a few milliseconds.
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
BATCHES = 80  # of 4 prompts, where nothing is taken from a store
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
    """One life of a run, from its first request to its last; ``pipe`` gets a byte for each batch computed."""

    def model(parts):
        for part in parts:
            time.sleep(pause)
            if pipe >= 0:
                os.write(pipe, b".")
            noise = 1e-4 * (
                part.histories.sum() % 97
            )  # of the whole batch, as the last bits of a real model's
            scores = part.candidates / 100 + part.histories.sum(1, keepdims=True) + noise
            yield Batch(Answers.from_scores(scores), 1, 1.0)

    answers = LabelStore(
        shared or run / "shards", run / "plans", "model", titles(), templates.TEMPLATES["titles"], size
    )
    told = [answers.answers(request, model)[0] for request in requests]
    return Answers(*(np.concatenate(column) for column in zip(*told, strict=True)))


def fork(run: Path, shared: Path | None, pipe: int, requests: Sequence = REQUESTS) -> int:
    """A life in a process of its own; what it was told is in ``told.npz`` when it has come to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            warnings.simplefilter("error")  # no kill, and no other run, may leave anything damaged
            store.write_arrays(run / "told.npz", label(run, shared, requests, 4, PAUSE, pipe)._asdict())
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def kill(run: Path, shared: Path | None) -> dict[str, int]:
    """Kills a run ``KILLS`` times, lets it end; meanwhile other runs label much of what it has planned."""
    generator, (ear, pipe) = np.random.default_rng(0), os.pipe()
    killed = computed = 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        pid = fork(run, shared, pipe)
        if killed < KILLS:
            storing = generator.random() < 0.6  # let it come to where it stores a batch
            if storing:
                select.select([ear], [], [], 10)
            time.sleep(generator.uniform(0, SHORT if storing else LONGEST))
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        killed += code == -signal.SIGKILL
        while select.select([ear], [], [], 0)[0]:
            computed += len(os.read(ear, 1 << 16))
        begun = REQUESTS[: len(list(run.rglob("plans/*/*.npz")))]
        if shared is not None and begun:
            rows = generator.permutation(40)[:20]
            other = [request.rows(rows) for request in begun[::-1]]
            label(run.parent / f"other {killed}", shared, other, size=7)
    assert code == 0
    return {"killed": killed, "computed": computed}


def race(folder: Path) -> dict[str, int]:
    """Two runs at once, on one store: their requests are the same, in opposite order."""
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

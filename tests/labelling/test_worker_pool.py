"""Several workers share prompts. Labels have the same bits for any number of them."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import save

from ialp_jax.errors import InputError
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm.config import LLMConfig

pytest.importorskip("torch")
REQUESTS = [draw(30, seed=1), draw(11, seed=2)]


def settings(folder, **changes):
    fixed = {"model": str(folder), "dtype": "float32", "shard_size": 16, "batch_size": 4, "device": "cpu"}
    return LLMConfig(**{**fixed, **changes})


def label(config, folder):
    save(folder)
    with LLMLabeller(config, folder / "data", folder / "labels", seed=0) as labeller:
        answers = [labeller.label(request) for request in REQUESTS]
        workers = [] if labeller._pool is None else [labeller._process, *labeller._pool._others]
        return answers, labeller.manifest(), [worker.pid for worker in workers]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype


@pytest.mark.parametrize(
    ("counts", "changes"),
    [
        ((1, 2), {}),
        pytest.param((1, 2, 3), {"mode": "choice", "permutations": 2}, marks=pytest.mark.slow),
        pytest.param((1, 3), {"mode": "generate", "retries": 1}, marks=pytest.mark.slow),
    ],
)
def test_labels_have_the_same_bits_for_any_number_of_workers(wide_folder, tmp_path, counts, changes):
    results = []
    for workers in counts:
        (tmp_path / str(workers)).mkdir()
        results.append(label(settings(wide_folder, workers=workers, **changes), tmp_path / str(workers)))
    for workers, (answers, manifest, pids) in zip(counts, results, strict=True):
        assert_same(answers, results[0][0])
        assert len(set(pids)) == workers
        names = set(manifest) - {"seconds"}
        assert {name: manifest[name] for name in names} == {name: results[0][1][name] for name in names}
    assert results[0][1]["seconds"] > 0


@pytest.mark.slow
def test_one_process_without_a_pool_gives_the_same_bits(wide_folder, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = label(settings(wide_folder, threads=1), tmp_path / "one")
    assert alone[2] == []
    assert_same(alone[0], label(settings(wide_folder, workers=2), tmp_path / "two")[0])


@pytest.mark.slow
def test_a_restarted_run_with_another_number_of_workers_gives_the_same_bits(wide_folder, tmp_path):
    config = settings(wide_folder, workers=2)
    before, _, _ = label(config, tmp_path)
    shards = sorted((tmp_path / "labels" / "shards").rglob("*.npz"))
    assert len(shards) == 3
    shards[1].unlink()
    with LLMLabeller(
        dataclasses.replace(config, workers=3), tmp_path / "data", tmp_path / "labels", seed=0
    ) as labeller:
        assert_same([labeller.label(request) for request in REQUESTS], before)
        assert len(labeller._pool._others) == 2


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_worker_gives_a_one_line_error_and_ends_the_others(wide_folder, tmp_path, victim):
    save(tmp_path)
    with LLMLabeller(
        settings(wide_folder, workers=2), tmp_path / "data", tmp_path / "labels", seed=0
    ) as labeller:
        labeller.label(REQUESTS[0])
        processes = [labeller._process, *labeller._pool._others]
        os.kill(processes[victim].pid, signal.SIGKILL)
        with pytest.raises(InputError, match=r"^the LLM worker was killed; the memory may have run out$"):
            labeller.label(REQUESTS[1])
    for process in processes:
        deadline = time.monotonic() + 10
        while process._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process._process.poll() is not None


@pytest.mark.slow
def test_an_error_of_a_further_worker_is_one_line(wide_folder, tmp_path, monkeypatch):
    """The pool's order to load names a folder that does not exist."""
    save(tmp_path)
    labeller = LLMLabeller(settings(wide_folder, workers=2), tmp_path / "data", tmp_path / "labels", seed=0)
    full = labeller._full_order
    monkeypatch.setattr(
        labeller,
        "_full_order",
        lambda task, changes=(), **details: (
            full(task, dict(changes), **details)
            | ({"model_folder": "/no/such"} if dict(changes).get("workers") == 1 else {})
        ),
    )
    with labeller, pytest.raises(InputError, match=r"^/no/such: [^\n]+$"):
        labeller.label(REQUESTS[0])


def test_the_memory_of_all_workers_is_counted(wide_folder, monkeypatch):
    from ialp_jax.llm.model import memory

    need = memory.Need(weights=1_000_000_000, batch=500_000_000)
    config = settings(wide_folder, workers=3)
    assert memory.verdict(need, 4_600_000_000, "cpu", "float32", config) == ""
    refusal = memory.verdict(need, 4_400_000_000, "cpu", "float32", config)
    assert refusal.startswith(
        "it needs 4.5 GB (1.0 GB of weights in float32 and 0.5 GB for a batch of 4 for each"
    )
    assert "for each of 3 workers), and 4.4 GB of memory are free" in refusal
    assert "--config.llm.workers under 3" in refusal
    assert memory.verdict(need, 1_600_000_000, "cpu", "float32", settings(wide_folder)) == ""
    ray = dataclasses.replace(config, engine="ray")
    assert memory.verdict(need, 1_600_000_000, "cpu", "float32", ray) == ""


def test_workers_without_ray_do_not_share_a_gpu(wide_folder, monkeypatch):
    import torch

    from ialp_jax.llm import engines
    from ialp_jax.llm.prompting import templates

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = settings(wide_folder, workers=2, device="auto")
    config.check()
    with pytest.raises(
        InputError, match=r"^--config\.llm\.workers=2: without Ray, workers run on a CPU only"
    ):
        engines.build(wide_folder, ("", "a"), templates.TEMPLATES["list"], config)

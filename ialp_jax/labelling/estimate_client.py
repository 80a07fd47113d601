"""Lets a worker process estimate the costs of labelling. Nothing is trained, loaded or labelled."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ialp_jax.labelling.worker_process import WorkerProcess
from ialp_jax.llm import model_files, require_packages
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting.lengths import Demand


def estimate(
    config: LLMConfig,
    data_folder: Path,
    log: Path,
    seed: int,
    demands: Sequence[Demand],
    shape: tuple[int, int],
) -> dict[str, Any]:
    """Returns the result of `ialp_jax.llm.worker.estimate.estimate`, joined over the workers by `together`.

    Args:
      config: settings of the LLM; the function checks them. If the model is a hub id, only its configuration
        and its tokenizer are downloaded.
      data_folder: folder of the data stage.
      log: file for the traceback of an unexpected failure.
      seed: seed of the run.
      demands: name, number and a sample of the prompts of each stage.
      shape: L and K of the label stage.

    Raises:
      InputError: the model does not exist, a package is missing, or the worker reports another error.
    """
    config.check()
    require_packages("the LLM")
    folder = ""
    if config.model:
        folder = str(model_files.resolve(config.model, config.revision, weights=False))
    several = config.engine == "transformers" and config.workers
    order = {
        "do": "estimate",
        "config": dataclasses.asdict(config) | ({"threads": config.threads or 1} if several else {}),
        "seed": seed,
        "data_folder": str(data_folder),
        "model_folder": folder,
        "demands": [(demand.name, demand.count) for demand in demands],
        "shape": shape,
    }
    arrays = {
        f"{name}{number}": array
        for number, demand in enumerate(demands)
        for name, array in demand.sample.arrays().items()
    }
    with contextlib.ExitStack() as stack:
        names = [log, *(log.with_name(f"{log.stem}-{n}{log.suffix}") for n in range(2, (several or 1) + 1))]
        processes = [WorkerProcess(name) for name in names]
        for process in processes:
            stack.callback(process.close)
        pool = stack.enter_context(ThreadPoolExecutor(len(processes)))
        return together([reply for reply, _ in pool.map(lambda one: one.ask(order, **arrays), processes)])


def together(costs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Joins the estimates of workers that ran at the same time, so that they slowed each other down.

    They share some parts: their speeds add up. One worker does each other part.

    Returns:
      The first estimate with the entry ``workers``, and with the time that all workers need together.
    """
    parts = []
    for same in zip(*(one["parts"] for one in costs), strict=True):
        seconds = [part["seconds"] for part in same]
        if same[0]["shared"] and min(seconds) > 0:
            time = 1 / sum(1 / one for one in seconds)
        else:
            time = sum(seconds) / len(seconds)
        parts.append({**same[0], "seconds": time})
    hours = sum(part["seconds"] for part in parts) / 3600
    return {**costs[0], "parts": parts, "hours": hours, "workers": len(costs)}

"""Lets a worker process estimate the costs of labelling. Nothing is trained, loaded or labelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    """Returns the result of `ialp_jax.llm.worker.estimate.estimate`.

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
    order = {
        "do": "estimate",
        "config": dataclasses.asdict(config),
        "seed": seed,
        "data_folder": str(data_folder),
        "model_folder": folder,
        "demands": [(demand.name, demand.count) for demand in demands],
        "shape": shape,
    }
    process = WorkerProcess(log)
    try:
        arrays = {
            f"{name}{number}": array
            for number, demand in enumerate(demands)
            for name, array in demand.sample.arrays().items()
        }
        return process.ask(order, **arrays)[0]
    finally:
        process.close()

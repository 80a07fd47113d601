"""Runs the LLM on several devices or machines. Each Ray worker has its own copy of the model.

The engine forms the same batches as the transformers engine. Ray's `ActorPool` gives the batches to the
workers and returns the answers in the order of the batches. So the number of workers changes only the time.
The answers are bit-identical if all devices are of the same kind and use the same number of threads.

Lettered modes with permutations or retries are an exception. Each Ray worker then forms its own batches,
which differ from the batches of the transformers engine.

On a cluster, the project and the model folder must have the same path on every machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines.ray_connection import connect, last_line
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts

RESTARTS = 3  # maximum number of restarts of a lost worker. A restarted worker repeats its batch.
IN_FLIGHT = 2  # number of batches that each worker has at the same time, so that it never waits


class Replica:
    """A Ray worker with a loaded model."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        shape: tuple[int, int] | None,
        wrapper: Sequence[str] | None,
    ) -> None:
        """Loads the model. If this fails, `facts` raises the error, because Ray wraps errors of __init__."""
        import torch

        from ialp_jax.llm import engines

        self._batches = 0
        self._error: InputError | None = None
        if config.threads:
            torch.set_num_threads(config.threads)
        try:
            self._engine: Any = engines.build(folder, titles, template, config, shape, wrapper)
        except InputError as error:
            self._error = error

    def facts(self) -> dict[str, Any]:
        """Returns `Engine.facts` of the model. Raises InputError if the model could not be loaded."""
        if self._error:
            raise self._error
        return self._engine.facts()

    def order(self, prompts: Prompts) -> np.ndarray:
        """Returns the order in which batches take the n prompts, int64 [n]."""
        return self._engine.order(prompts)

    def answer(self, prompts: Prompts, plain: bool) -> tuple[Answers, int]:
        """Sets ``plain`` as in the Ray engine, then calls `Engine.answer`."""
        self._batches += 1
        self._engine.plain = plain
        return self._engine.answer(prompts)

    def num_batches(self) -> int:
        """Number of batches that this worker answered."""
        return self._batches

    def unconditional(self, plain: bool) -> np.ndarray:
        """Sets ``plain`` as in the Ray engine, then calls `Engine.unconditional`."""
        self._engine.plain = plain
        return self._engine.unconditional()

    def check(self, shape: tuple[int, int]) -> bool:
        """Runs `Engine.check` and returns ``plain``."""
        self._engine.check(shape)
        return self._engine.plain


class RayEngine:
    """An engine with several copies of the model, each on its own device."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        shape: tuple[int, int] | None,
        wrapper: Sequence[str] | None,
    ) -> None:
        """Starts Ray or joins a cluster, and loads the model in each worker. Raises InputError on errors."""
        num_cpus = max(config.workers, os.cpu_count() or 1)
        self._ray = connect(config.ray_address, num_cpus, "--config.llm.ray_address")
        count, gpus = count_workers(self._ray, config)
        config_of_worker = dataclasses.replace(
            config, engine="transformers", workers=0, ray_address="", device="cuda" if gpus else "cpu"
        )
        actor = self._ray.remote(Replica).options(
            num_cpus=1, num_gpus=gpus, max_restarts=RESTARTS, max_task_retries=RESTARTS
        )
        self._titles = self._ray.put(tuple(titles))  # restarted workers read the titles here
        args = (Path(folder), self._titles, template, config_of_worker, shape, wrapper)
        self._replicas = [actor.remote(*args) for _ in range(count)]
        self._batch_size, self.plain = config.batch_size, False
        with self._one_line_errors():
            self._facts = self._ray.get([replica.facts.remote() for replica in self._replicas])[0]

    def close(self) -> None:
        """Stops the workers and frees their devices."""
        for replica in self._replicas:
            self._ray.kill(replica)

    def facts(self) -> dict[str, Any]:
        """Returns device and dtype of the first worker. In lettered modes, also returns prompt settings."""
        return self._facts

    def check(self, shape: tuple[int, int]) -> None:
        """Lets the first worker run `Engine.check`, and uses its ``plain`` for all workers."""
        with self._one_line_errors():
            self.plain = self._ray.get(self._replicas[0].check.remote(shape))

    def order(self, prompts: Prompts) -> np.ndarray:
        """Returns `Engine.order` of the first worker."""
        with self._one_line_errors():
            return self._ray.get(self._replicas[0].order.remote(prompts))

    def unconditional(self) -> np.ndarray:
        """Returns the scores of all titles after an empty history, float32 [N + 1], from the first worker."""
        with self._one_line_errors():
            return self._ray.get(self._replicas[0].unconditional.remote(self.plain))

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Returns only the scores of `answer`, float32 [n, K], and the number of tokens read."""
        answers, tokens = self.answer(prompts)
        return answers.scores, tokens

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Returns the answers to n prompts, and the number of tokens that the models read.

        Raises:
          InputError: a worker reports an error, or its process was lost more than `RESTARTS` times.
        """
        if not prompts.num_prompts:
            return Answers.empty(prompts.shape[1]), 0

        def submit(replica: Any, batch: np.ndarray) -> Any:
            return replica.answer.remote(prompts.rows(batch), self.plain)

        order = self.order(prompts)
        batches = [order[i : i + self._batch_size] for i in range(0, len(order), self._batch_size)]
        with self._one_line_errors():
            pool = self._ray.util.ActorPool(self._replicas * IN_FLIGHT)
            answers, tokens = zip(*pool.map(submit, batches), strict=True)
        return Answers.joined(answers, order), sum(tokens)

    @contextlib.contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Turns Ray's errors into InputError. The message is from the worker, or says that it failed."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, InputError):
                raise InputError(str(cause)) from None
            raise InputError(
                f"a Ray worker failed ({last_line(error)}); its log is in /tmp/ray/session_latest/logs"
            ) from None


def count_workers(ray: Any, config: LLMConfig) -> tuple[int, int]:
    """Returns the number of workers, and the number of GPUs per worker.

    Raises:
      InputError: Ray has too few devices. Without this check, Ray would wait for more devices forever.
    """
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if config.device != "cpu" else 0
    if config.device.startswith("cuda") and not gpus:
        raise InputError(f"--config.llm.device={config.device}: Ray sees no GPU; use auto or cpu")
    count = config.workers or max(1, gpus)
    available = gpus or int(resources.get("CPU", 0))
    if count > available:
        devices = "GPUs" if gpus else "CPU cores"
        raise InputError(
            f"--config.llm.workers={count}: Ray sees {available} {devices}; use at most that many"
        )
    return count, min(gpus, 1)

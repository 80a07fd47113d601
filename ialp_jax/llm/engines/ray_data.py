"""Several devices and several machines by Ray Data.

A request is sorted by length and cut where `ialp_jax.llm.modes.likelihood` would cut it; Ray Data sends the
batches to the workers and keeps their order. So the number of workers changes the time and not a bit of the
answers, on devices of one kind with as many threads each. (Under letters with several permutations or with
retries, the batches are those of one Ray worker, not those of the plain engine.)

Ray Data starts the actors of a pipeline anew for every data set, and a run makes a request per step of its
sessions: a model would be loaded each time. The models therefore stay in actors of their own, as Ray's own
batch inference does where pipelines share a model, and the pipeline's tasks hand them their batches. On a
cluster, the project and the model folder must lie at the same path on every machine.

Whoever reaches a port of Ray's may run code as its user. A Ray that is started here therefore listens on the
loopback interface only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.errors import InputError, missing_package
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines.replica import Replica
from ialp_jax.llm.modes.answers import Answers, unwritten
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts

OBJECT_STORE_BYTES = 256 * 2**20  # what a local Ray takes of the memory; our blocks are a few kilobytes
RESTARTS = 3  # of an actor whose machine went away; its batch is asked again and gives the same bits
# Off, Ray uses the loopback address, as by default on macOS and Windows. Ray reads it when it is imported.
CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
IN_FLIGHT = 2  # batches at each worker, so that none waits for the next
_connected = threading.Event()


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_package("--config.llm.engine=ray", error.name or "ray", "ray") from None
    return ray


def shut_down() -> None:
    """Ends the Ray that `RayEngine` started, or leaves the cluster it had joined; else does nothing."""
    if _connected.is_set():
        import ray

        _connected.clear()
        ray.shutdown()


class RayEngine:
    """The configured number of models, each on a device of its own."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        shape: tuple[int, int] | None,
        wrapper: Sequence[str] | None,
    ) -> None:
        """Starts Ray or joins a cluster, and loads the model into every worker. Raises InputError."""
        workers = max(config.workers, os.cpu_count() or 1)
        ray = self._ray = connect(config.ray_address, workers + 1, "--config.llm.ray_address")
        self._count, gpus = count_workers(ray, config)
        one = dataclasses.replace(
            config, engine="transformers", workers=0, ray_address="", device="cuda" if gpus else "cpu"
        )
        actor = ray.remote(Replica).options(
            num_cpus=1, num_gpus=gpus, max_restarts=RESTARTS, max_task_retries=RESTARTS
        )
        given = (Path(folder), ray.put(tuple(titles)), template, one, shape, wrapper)
        self._replicas = [actor.remote(*given) for _ in range(self._count)]
        self._facts = self._get([replica.facts.remote() for replica in self._replicas])[0]
        self._batch_size = config.batch_size
        self.plain = False

    def close(self) -> None:
        """Ends the workers and frees their devices."""
        for replica in self._replicas:
            self._ray.kill(replica)

    def facts(self) -> dict[str, Any]:
        """Device and dtype of the first worker."""
        return self._facts

    def check(self, shape: tuple[int, int]) -> None:
        """As `Scorer.check`, by the first worker for all."""
        self.plain = self._get([self._replicas[0].check.remote(shape)])[0]

    def unconditional(self) -> np.ndarray:
        """As `Scorer.unconditional`, by the first worker."""
        return self._get([self._replicas[0].unconditional.remote(self.plain)])[0]

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """The scores float32 [n, K] of `answer`, and the tokens spent."""
        answers, tokens = self.answer(prompts)
        return answers.scores, tokens

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """As `Scorer.answer`, in its batches, each by one of the workers. Raises InputError."""
        length, num_candidates = prompts.shape
        if not prompts.num_prompts:
            return Answers.empty(num_candidates), 0
        order = self._get([self._replicas[0].order.remote(prompts)])[0]
        size = self._batch_size
        table = np.concatenate([prompts.histories, prompts.candidates], axis=1)[order]
        blocks = []
        for number, start in enumerate(range(0, len(order), size)):
            part = table[start : start + size]
            blocks.append(np.insert(part, 0, number, axis=1))
        results = self._run(blocks, {"replicas": self._replicas, "length": length, "plain": self.plain})
        back = np.argsort(order)
        columns = {"places": np.zeros((len(order), 0), np.int8)}  # where there are none, they do not travel
        for name in results[0].keys() & set(Answers._fields):
            columns[name] = np.concatenate([result[name] for result in results])[back]
        columns["replies"] = _unpacked(columns.get("replies"), columns["places"])
        return Answers(**columns), sum(int(result["tokens"][0]) for result in results)

    def _run(self, blocks: list[np.ndarray], extra: dict[str, Any]) -> list[dict[str, np.ndarray]]:
        """What the pipeline gives for each block, in their order."""
        data = self._ray.data.from_numpy(blocks).map_batches(
            _ask, batch_size=None, concurrency=min(IN_FLIGHT * self._count, len(blocks)), fn_kwargs=extra
        )
        try:
            results = list(data.iter_batches(batch_size=None, batch_format="numpy"))
        except self._ray.exceptions.RayError as error:
            raise _lost(error) from None
        for result in results:
            if "error" in result:
                raise InputError(str(result["error"][0]))
        return results

    def _get(self, references: list[Any]) -> list[Any]:
        """The results. Raises InputError with what a worker said, or where one is lost."""
        try:
            results = self._ray.get(references)
        except self._ray.exceptions.RayError as error:
            raise _lost(error) from None
        for result in results:
            if isinstance(result, dict) and "error" in result:
                raise InputError(result["error"])
        return results


def _ask(
    batch: dict[str, np.ndarray], replicas: list[Any], length: int, plain: bool
) -> dict[str, np.ndarray]:
    """A task of the pipeline: has one block answered, rows of its number, L and K items."""
    import ray

    rows = batch["data"].astype(np.int32)
    replica = replicas[rows[0, 0] % len(replicas)]
    prompts = Prompts(rows[:, 1 : 1 + length], rows[:, 1 + length :])
    said, tokens = ray.get(replica.answer.remote(prompts, plain))
    if isinstance(said, str):
        return {"error": np.array([said])}
    columns = {name: column for name, column in said._asdict().items() if column.size}
    if "replies" in columns:  # Ray knows no arrays of texts
        columns["replies"] = np.array([json.dumps(row) for row in said.replies.tolist()])
    return {**columns, "tokens": np.full(len(rows), tokens)}


def _unpacked(packed: np.ndarray | None, places: np.ndarray) -> np.ndarray:
    """The replies str [n, A] of rows that travelled as JSON, for places int8 [n, A]; "" without text."""
    if packed is None:
        return unwritten(places)
    return np.array([json.loads(row) for row in packed], np.str_).reshape(places.shape)


def connect(address: str, num_cpus: int, flag: str) -> Any:
    """Joins a cluster, or starts a Ray of our own; without dashboard and chatter.

    Args:
      address: of the cluster; empty or ``local``: none.
      num_cpus: of a Ray of our own; the pipeline's own tasks need one.
      flag: that gives the address, for the message.

    Returns:
      The module ``ray``; `shut_down` ends what was begun here.

    Raises:
      InputError: ray is missing or does not start, or would listen on other interfaces than loopback.
    """
    address = "" if address == "local" else address
    if not address:
        os.environ[CLUSTER_SWITCH] = "0"
    ray = _import_ray()
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    own = {
        "address": "local",  # RAY_ADDRESS must not act
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "num_cpus": num_cpus,
    }
    place = {"address": address} if address else own
    try:
        with _silence():
            ray.init(**quiet, **place)
    except Exception as error:  # Ray raises it as such where a node does not come up in time
        where = f"no Ray cluster at {address}" if address else "Ray does not start"
        raise InputError(f"{flag}: {where} ({_last_line(error)})") from None
    _connected.set()
    if not address:
        _require_loopback(ray, flag)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    return ray


def _require_loopback(ray: Any, flag: str) -> None:
    """Ends a Ray that others may reach. Raises InputError: ray was imported before the switch was set."""
    place = ray.util.get_node_ip_address()
    if not ipaddress.ip_address(place).is_loopback:
        shut_down()
        raise InputError(
            f"{flag}: Ray would listen on {place}, where other machines reach it; "
            f"set the environment variable {CLUSTER_SWITCH}=0 before ray is imported"
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drops what Python or Ray's own libraries write to stderr; what goes wrong is raised all the same."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def count_workers(ray: Any, config: LLMConfig) -> tuple[int, int]:
    """How many workers, and how many GPUs each has.

    Raises:
      InputError: Ray would wait for ever for devices that are not there.
    """
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if config.device != "cpu" else 0
    if config.device.startswith("cuda") and not gpus:
        raise InputError(f"--config.llm.device={config.device}: Ray sees no GPU; use auto or cpu")
    count = config.workers or max(1, gpus)
    room = gpus or int(resources.get("CPU", 0)) - 1  # one is for the pipeline's own tasks
    if count > room:
        what = "GPUs" if gpus else "CPU cores to spare"
        raise InputError(f"--config.llm.workers={count}: Ray sees {room} {what}; ask for no more than that")
    return count, min(gpus, 1)


def _lost(error: Exception) -> InputError:
    return InputError(
        f"a Ray worker failed ({_last_line(error)}); its log is in /tmp/ray/session_latest/logs"
    )


def _last_line(error: Exception) -> str:
    """Where Ray says what happened, after the traceback."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]

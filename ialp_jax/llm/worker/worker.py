"""The process that loads torch (Ray workers do too): ``python -m ialp_jax.llm.worker.worker``.

`ialp_jax.labelling.worker_process` starts the worker. The worker reads orders as frames
(`ialp_jax.llm.worker.protocol`) from its standard input and answers on its standard output:

- ``train``: trains the embedded model on the offline users and saves it;
- ``lora``: fine-tunes a model by LoRA on the offline users and saves the adapter;
- ``load``: loads the model; also writes the calibration beside the labels if the order requests it. In mode
  ``likelihood``, the calibration holds the scores after an empty history and the threshold of ``none``. In
  lettered modes, it holds the chat template;
- ``estimate``: estimates the costs of labelling;
- ``order``: sorts n prompts, so that a client with several workers can form batches of similar length;
- ``score``: answers n prompts, ``histories`` [n, L] and ``candidates`` [n, K], with
  `ialp_jax.llm.modes.answers.Answers`.

If an order fails, the answer has an entry ``error``: an error message for the user, in one line. The process
ends when its input closes, even in the middle of an order, so it never outlives its client. The process must
not load JAX, because torch and JAX would compete for the cores.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ialp_jax import store
from ialp_jax.data.files import load_dataset
from ialp_jax.data.splits import split_offline
from ialp_jax.errors import InputError, missing_package
from ialp_jax.llm import engines
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines import ray_connection
from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.prompting import alike, templates
from ialp_jax.llm.prompting.lengths import Demand, sample_of
from ialp_jax.llm.worker import protocol
from ialp_jax.llm.worker.protocol import CALIBRATION, GROUP_SIGNALS
from ialp_jax.types import Prompts

if TYPE_CHECKING:
    from ialp_jax.types import Dataset

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


class Worker:
    """Carries out orders and keeps the loaded model between them."""

    def __init__(self) -> None:
        self._engine: engines.Engine | None = None

    def answer(self, order: dict[str, Any], arrays: dict[str, np.ndarray]) -> Answer:
        """Carries out one order. Raises InputError for problems that the user can solve."""
        if order["do"] == "score":
            return self._score(Prompts(**arrays))
        if order["do"] == "order":
            return {"did": "order"}, {"order": self._engine.order(Prompts(**arrays))}
        _import_torch()
        config = LLMConfig.from_dict(order["config"])
        if config.threads:
            sys.modules["torch"].set_num_threads(config.threads)
        template = templates.choose(config.template, embedded=not config.model)
        dataset = templates.shown(load_dataset(Path(order["data_folder"])), template)
        if order["do"] == "train":
            _train(dataset, config, order)
            return {"did": "train"}, {}
        if order["do"] == "lora":
            return {"did": "lora", "log": _fine_tune(dataset, config, order)}, {}
        if order["do"] == "estimate":
            return _estimate(dataset, config, order, arrays), {}
        return self._load(dataset, config, order), {}

    def _load(self, dataset: Dataset, config: LLMConfig, order: dict[str, Any]) -> dict[str, Any]:
        template = templates.choose(config.template, embedded=not config.model)
        folder, titles = Path(order["model_folder"]), dataset.catalogue.titles
        known, measured = (order.get("shape"), order.get("wrapper")), dict[str, Any]()
        if order[CALIBRATION]:
            config, measured = _resolved(dataset, config, order)
        self._engine = engines.build(folder, titles, template, config, *known)
        if order[CALIBRATION]:
            _calibrate(self._engine, dataset, config, order, measured)
        else:
            self._engine.plain = order["plain"]
        return {"did": "load"}

    def _score(self, prompts: Prompts) -> Answer:
        started = time.monotonic()
        answers, tokens = self._engine.answer(prompts)
        return {"tokens": tokens, "seconds": time.monotonic() - started}, answers._asdict()


def _import_torch() -> None:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise missing_package("the label stage", error.name or "torch", "llm") from None
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _train(dataset: Dataset, config: LLMConfig, order: dict[str, Any]) -> None:
    """Trains the embedded model."""
    from tqdm import tqdm

    from ialp_jax.llm.model import embedded, torch_checkpoint

    template = templates.choose(config.template, embedded=True)
    folder = Path(order["model_folder"])
    with tqdm(total=config.embedded.steps, desc="train the embedded Mistral", unit="step") as bar:

        def progress(step: int, loss: float) -> None:
            if step % 20 == 0 or step == config.embedded.steps:
                bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
                bar.update(step - bar.n)

        recipe, seed = order["recipe"], order["seed"]
        embedded.train(folder, dataset, template, config.embedded, seed, progress, recipe)
    torch_checkpoint.remove(embedded.checkpoints_of(folder))


def _fine_tune(dataset: Dataset, config: LLMConfig, order: dict[str, Any]) -> dict[str, Any]:
    """Trains an adapter, saves it and returns the log."""
    from tqdm import tqdm

    from ialp_jax.llm.lora import fine_tuning

    with tqdm(total=config.lora.steps, desc="LoRA", unit="step") as bar:

        def progress(step: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update(step - bar.n)

        return fine_tuning.fine_tune(
            Path(order["adapter_folder"]),
            Path(order["model_folder"]),
            dataset,
            config,
            seed=order["seed"],
            progress=progress,
            **order["lora"],
        )


def _estimate(
    dataset: Dataset, config: LLMConfig, order: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Estimates the costs of labelling, see `ialp_jax.llm.worker.estimate`."""
    from ialp_jax.llm.worker import estimate

    folder = Path(order["model_folder"]) if order["model_folder"] else None
    demands = [
        Demand(name, count, Prompts(arrays[f"histories{number}"], arrays[f"candidates{number}"]))
        for number, (name, count) in enumerate(order["demands"])
    ]
    return estimate.estimate(folder, dataset, config, demands, tuple(order["shape"]), order["seed"])


def _resolved(dataset: Dataset, config: LLMConfig, order: dict[str, Any]) -> tuple[LLMConfig, dict[str, Any]]:
    """The settings with the measured dtype if ``auto`` needs a measurement, and the measurements."""
    from ialp_jax.llm.model.loading import of_dtype
    from ialp_jax.llm.worker import precision

    if not precision.is_open(config):
        return config, {}
    template = templates.choose(config.template, embedded=not config.model)
    prompts = sample_of(dataset, tuple(order["shape"]), order["seed"])
    choice = precision.choose(
        Path(order["model_folder"]), dataset.catalogue.titles, template, config, prompts
    )
    return of_dtype(config, choice.dtype), choice.facts


def _calibrate(
    engine: engines.Engine,
    dataset: Dataset,
    config: LLMConfig,
    order: dict[str, Any],
    measured: dict[str, Any],
) -> None:
    """Writes the calibration: ``unconditional`` float32 [N + 1], the threshold, and shares of gains above it.

    The manifest also holds ``measured``, the measurements behind the dtype.

    In lettered modes, writes only the manifest: no threshold is needed, because the model itself answers
    "none".
    """
    engine.check(order["shape"])
    manifest = {CALIBRATION: order[CALIBRATION], **engine.facts(), **measured, "plain": engine.plain}
    folder = Path(order["calibration_folder"])
    if config.mode != "likelihood":
        return store.save(folder, {}, manifest)
    _, held_out = split_offline(dataset, config.embedded.holdout, order["seed"])
    template = templates.choose(config.template, embedded=not config.model)
    same = alike.groups(dataset.catalogue.titles, template, lettered=False)
    trial = none_rule.draw_trial(dataset, held_out, order["seed"], same)
    unconditional = engine.unconditional()
    scores, _ = engine.score(trial)
    gains = scores - unconditional[trial.candidates]
    limit = none_rule.threshold(gains[:, 0], gains[:, 1], config.none_rule, config.none_quantile)
    is_kept = gains >= (-np.inf if limit is None else limit)
    manifest |= {"threshold": limit, "calibration_prompts": len(gains)}
    if len(is_kept):
        manifest["own_kept"], manifest["random_kept"] = is_kept.mean(0).tolist()
        manifest["own_above_random"] = float((scores[:, 0] > scores[:, 1]).mean())
    store.save(folder, {"unconditional": unconditional}, manifest)


def serve(orders: queue.Queue, reply: BinaryIO, log: Path) -> None:
    """Answers orders in an endless loop. An unexpected failure writes its traceback to ``log``."""
    worker = Worker()
    while True:
        order, arrays = orders.get()
        try:
            header, results = worker.answer(order, arrays)
        except InputError as error:
            header, results = {"error": str(error)}, {}
        except Exception as error:  # The client gets any error as one line.
            with contextlib.suppress(OSError):  # The disk may be full or broken.
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text(traceback.format_exc(), encoding="utf-8")
            what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            header, results = {"error": f"the LLM worker failed: {what}; see {log}"}, {}
        protocol.send(reply, header, **results)


def _listen(stream: BinaryIO, orders: queue.Queue) -> None:
    """Puts received frames into ``orders``. Ends the process when the client ends, even during an order."""
    while (frame := protocol.receive(stream)) is not None:
        orders.put(frame)
    ray_connection.shut_down()
    os._exit(0)


def main() -> None:
    """Runs the worker on its standard streams. The only command-line argument is the file for tracebacks."""
    reply = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # text that libraries print must not mix with frames
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # child processes need the signals that the client blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    sys.modules["jax"] = None  # makes every import of jax raise an error
    orders: queue.Queue = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders), daemon=True).start()
    serve(orders, reply, Path(sys.argv[1]))


if __name__ == "__main__":
    main()

"""The worker process as its client sees it: orders go in, answers come out, an error is one line.

A plain subprocess with frames of its own: ``multiprocessing`` would pickle the start of the worker, import
the client's main module into it (and so JAX) and add a resource tracker process, and the worker's death with
its client, its exit codes and held signals would still need the code below.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ialp_jax
from ialp_jax.errors import InputError
from ialp_jax.llm.worker import protocol
from ialp_jax.llm.worker.protocol import GROUP_SIGNALS

IN_FLIGHT = 2  # orders at the worker, so that it does not wait while an answer is written to disk
PATIENCE_SECONDS = 5.0  # for the worker to end

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """A process that starts within it gets no `GROUP_SIGNALS` before it has finished its imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerProcess:
    """A running worker. It ends with `close`, or when this process ends for any reason."""

    def __init__(self, log: Path) -> None:
        """Starts the process; ``log`` gets the traceback of an unforeseen failure."""
        log.unlink(missing_ok=True)
        package = str(Path(ialp_jax.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with _signals_held():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ialp_jax.llm.worker.worker", str(log)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, order: dict[str, Any], **arrays: np.ndarray) -> Answer:
        """Sends one order and waits for its answer. Raises InputError with the worker's one line."""
        return next(self.ask_all([(order, arrays)]))

    def ask_all(self, orders: Sequence[Answer]) -> Iterator[Answer]:
        """Answers to several orders, in their order; `IN_FLIGHT` of them are at the worker at a time."""
        for number in range(len(orders) + IN_FLIGHT - 1):
            if number < len(orders):
                header, arrays = orders[number]
                with contextlib.suppress(OSError):  # a worker that died is noticed at its missing answer
                    protocol.send(self._process.stdin, header, **arrays)
            if number >= IN_FLIGHT - 1:
                yield self._receive()

    def _receive(self) -> Answer:
        answer = protocol.receive(self._process.stdout)
        if answer is None:
            code = self._process.wait()
            if code == -signal.SIGKILL:
                raise InputError("the LLM worker was killed, as happens when memory runs out")
            raise InputError(f"the LLM worker ended with exit code {code}; its last words are above")
        if "error" in answer[0]:
            raise InputError(answer[0]["error"])
        return answer

    def close(self) -> None:
        """Closes the worker's input, at which it ends itself; kills it if it does not."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

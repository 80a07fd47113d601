"""The client's side of the worker process: sends orders, receives answers, and raises one-line errors.

The worker is a plain subprocess with its own message format. We do not use ``multiprocessing``, because it
would import the client's main module, and so JAX, into the worker. It also needs pickle and an extra process,
the resource tracker. It would not replace the code below: the worker must end with its client, the client
must read the worker's exit codes, and signals must be delayed.
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

# Maximum number of orders without an answer. With 2, the worker works while the client saves an answer.
IN_FLIGHT = 2
PATIENCE_SECONDS = 5.0  # time that the client waits for the end of the worker before it kills the worker

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """A process that starts inside this context gets no `GROUP_SIGNALS` before its imports are finished."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerProcess:
    """A running worker. The worker ends after `close`, or when this process ends for any reason."""

    def __init__(self, log: Path) -> None:
        """Starts the process. After an unexpected failure, the file ``log`` has the traceback."""
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
        """The process id of the worker."""
        return self._process.pid

    def ask(self, order: dict[str, Any], **arrays: np.ndarray) -> Answer:
        """Sends one order and waits for its answer. If the worker reports an error, raises InputError."""
        return next(self.ask_all([(order, arrays)]))

    def ask_all(self, orders: Sequence[Answer]) -> Iterator[Answer]:
        """Yields the answers in the sequence of the orders. At most `IN_FLIGHT` orders wait for an answer."""
        for number in range(len(orders) + IN_FLIGHT - 1):
            if number < len(orders):
                header, arrays = orders[number]
                with contextlib.suppress(OSError):  # if the worker has died, `_receive` reports it
                    protocol.send(self._process.stdin, header, **arrays)
            if number >= IN_FLIGHT - 1:
                yield self._receive()

    def _receive(self) -> Answer:
        answer = protocol.receive(self._process.stdout)
        if answer is None:
            code = self._process.wait()
            if code == -signal.SIGKILL:
                raise InputError("the LLM worker was killed; the memory may have run out")
            raise InputError(f"the LLM worker ended with exit code {code}; its last output is above")
        if "error" in answer[0]:
            raise InputError(answer[0]["error"])
        return answer

    def close(self) -> None:
        """Closes the worker's input, so that the worker ends. If it does not end, kills it."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

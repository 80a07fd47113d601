"""The client's side of the worker process: sends orders, receives answers, raises errors as one line.

The worker is a plain subprocess with its own message format. ``multiprocessing`` would pickle the start of
the worker, import the client's main module (and so JAX) into it, and add a resource tracker process. We would
still need the code below. The worker must end with its client, the client must read the worker's exit codes,
and signals must be delayed.
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

IN_FLIGHT = 2  # orders sent ahead, so that the worker does not wait while the client writes an answer to disk
PATIENCE_SECONDS = 5.0  # time for the worker to end before it is killed

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Inside this context, a new process gets no `GROUP_SIGNALS` until it has finished its imports."""
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
        """Starts the process. ``log`` gets the traceback of an unexpected failure."""
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
        """Sends one order and waits for its answer. Raises InputError with the worker's error line."""
        return next(self.ask_all([(order, arrays)]))

    def ask_all(self, orders: Sequence[Answer]) -> Iterator[Answer]:
        """Yields answers to several orders, in order. At most `IN_FLIGHT` orders are sent ahead."""
        for number in range(len(orders) + IN_FLIGHT - 1):
            if number < len(orders):
                header, arrays = orders[number]
                with contextlib.suppress(OSError):  # if the worker died, `_receive` will notice it
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
        """Closes the worker's input, which ends the worker; kills the worker if it does not end."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

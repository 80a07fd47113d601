"""SIGTERM and Ctrl-C: the process saves its work if possible, and ends with a one-line message.

The exit code is the one that shells report: 143 after SIGTERM, 130 after SIGINT. A second Ctrl-C ends the
process immediately.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ialp_jax.errors import Terminated

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE_SECONDS = 25.0  # after this time the process ends even if it is busy; a compilation can take longer


class Termination:
    """Handles the two signals; stores the received signal, and whether its effect is delayed."""

    def __init__(self) -> None:
        self._signal, self._deferred = 0, 0  # 0: no signal came
        self._watcher, self._wakeup = threading.Thread(), -1  # -1: no pipe yet

    @property
    def exit_code(self) -> int:
        """The exit code that shells report after the signal."""
        return 128 + self._signal

    def install(self) -> None:
        """Installs the handlers; call this method in the main thread.

        Python runs a signal handler only between two Python instructions, so not during long compiled code.
        For this case, a thread also reads the signals from a pipe and can end the process. The thread and the
        pipe serve all further calls in the same process.
        """
        if not self._watcher.is_alive():  # also in a fork, which has no threads of its parent
            read_end, self._wakeup = os.pipe()
            os.set_blocking(self._wakeup, False)
            self._watcher = threading.Thread(target=_end_late, args=(read_end,), daemon=True)
            self._watcher.start()
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signal = number
        if not self._deferred:
            raise Terminated("finished work is saved; the same command continues from there")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Delays the effect of a signal until the end of the context.

        Yields:
          A function that returns whether a signal has arrived.
        """
        self._deferred += 1
        try:
            yield lambda: bool(self._signal)
        finally:
            self._deferred -= 1
        if self._signal and not self._deferred:
            self._handle(self._signal, None)

    @contextlib.contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """Skips Python's clean-up at exit if a signal ended the program; wraps the whole program.

        The clean-up can crash while threads of XLA are still compiling. All files are already closed then.
        """
        try:
            yield
        finally:
            if self._signal:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(self.exit_code)


def _end_late(pipe: int) -> None:
    """Ends the process `PATIENCE_SECONDS` after the first signal, or at a second Ctrl-C."""
    first = _next_signal(pipe)
    timer = threading.Timer(PATIENCE_SECONDS, _end, (first, "busy for too long"))
    timer.daemon = True
    timer.start()
    while _next_signal(pipe) != signal.SIGINT:
        pass
    _end(signal.SIGINT, "interrupted twice")


def _next_signal(pipe: int) -> int:
    """Waits for one of `SIGNALS`."""
    while (number := os.read(pipe, 1)[0]) not in SIGNALS:
        pass
    return number


def _end(number: int, reason: str) -> None:
    print(f"terminated: {reason}; the last checkpoint, if any, is kept", file=sys.stderr, flush=True)
    os._exit(128 + number)


TERMINATION = Termination()

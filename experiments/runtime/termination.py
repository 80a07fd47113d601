"""SIGTERM and Ctrl-C: what is under way is saved if it can be, and the process ends in one line.

The exit code is that of shells: 143 after SIGTERM, 130 after SIGINT. A second Ctrl-C ends it at once.
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
PATIENCE_SECONDS = 25.0  # then the process ends wherever it is: a compilation can take longer


class Termination:
    """Whether the process was asked to end, and whether somebody waits for a good moment."""

    def __init__(self) -> None:
        self._asked, self._deferred = 0, 0  # the signal, or 0

    @property
    def exit_code(self) -> int:
        """What shells report of a process that its signal ended."""
        return 128 + self._asked

    def install(self) -> None:
        """Begins to listen; for the main thread.

        Python runs a handler only between two of its own instructions, so a thread of its own hears of the
        signal at once.
        """
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        threading.Thread(target=_end_late, args=(ear,), daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._asked = number
        if not self._deferred:
            raise Terminated("what is finished is kept; the same command goes on from there")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Within it a signal only sets what the function it gives returns; at its end it takes effect."""
        self._deferred += 1
        try:
            yield lambda: bool(self._asked)
        finally:
            self._deferred -= 1
        if self._asked and not self._deferred:
            self._handle(self._asked, None)

    @contextlib.contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """For the whole of a program: if a signal ended it, Python's clean-up is left out.

        The clean-up can crash while threads of XLA still compile; all files are closed by then.
        """
        try:
            yield
        finally:
            if self._asked:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(self.exit_code)


def _end_late(ear: int) -> None:
    """Ends the process at a second Ctrl-C, or some time after the first signal. Its children see its end."""
    first = _next_signal(ear)
    timer = threading.Timer(PATIENCE_SECONDS, _end, (first, "busy for too long"))
    timer.daemon = True
    timer.start()
    while _next_signal(ear) != signal.SIGINT:
        pass
    _end(signal.SIGINT, "interrupted twice")


def _next_signal(ear: int) -> int:
    """Waits for one of `SIGNALS`."""
    while (number := os.read(ear, 1)[0]) not in SIGNALS:
        pass
    return number


def _end(number: int, reason: str) -> None:
    print(f"terminated: {reason}; the last checkpoint, if any, is kept", file=sys.stderr, flush=True)
    os._exit(128 + number)


TERMINATION = Termination()

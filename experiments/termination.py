"""SIGTERM: what is under way is saved where it can be, and the process ends with exit code 143."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from ialp_jax.errors import Terminated

EXIT_CODE = 128 + signal.SIGTERM
PATIENCE_SECONDS = 25.0  # then the process ends wherever it is: a compilation can take longer


class Termination:
    """Whether the process was asked to end, and whether somebody waits for a good moment."""

    def __init__(self) -> None:
        self._asked, self._deferred = False, 0

    def install(self) -> None:
        """Begins to listen; for the main thread.

        Python runs a handler only between two of its own instructions, so a thread of its own hears of the
        signal at once.
        """
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        threading.Thread(target=_end_late, args=(ear,), daemon=True).start()
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True
        if not self._deferred:
            raise Terminated("what is finished is kept; the same command goes on from there")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Within it a signal only sets what the function it gives returns; at its end it takes effect."""
        self._deferred += 1
        try:
            yield lambda: self._asked
        finally:
            self._deferred -= 1
        if self._asked and not self._deferred:
            self._handle(signal.SIGTERM, None)


def _end_late(ear: int) -> None:
    """Ends the process some time after the first SIGTERM, if it is still there; its children see its end."""
    while os.read(ear, 1) != bytes([signal.SIGTERM]):
        pass
    time.sleep(PATIENCE_SECONDS)
    print("terminated: busy for too long; the last checkpoint, if any, stands", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


SIGTERM = Termination()

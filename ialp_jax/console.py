"""The console of every command: any encoding, closed pipes and Ctrl-C end in order."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

CLOSED_PIPE, INTERRUPTED = 141, 130  # exit codes, as shells report SIGPIPE and SIGINT


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Wraps the whole of a command.

    Characters that the console cannot show are printed as escapes. A command whose reader goes away, as
    ``| head`` does, and one that Ctrl-C interrupts, end without a traceback and with the exit code of shells.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(CLOSED_PIPE) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def show_lines(lines: Iterable[str]) -> None:
    """Prints lines that may be cut anywhere, such as help: a reader that takes only the first is no error."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()


def _drop_output() -> None:
    """Sends what is still buffered nowhere, so that the interpreter can end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

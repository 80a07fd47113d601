"""Console output of commands: handles any encoding, closed pipes and Ctrl-C without a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

CLOSED_PIPE, INTERRUPTED = 141, 130  # the exit codes of shells for SIGPIPE and SIGINT


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Context for a whole command.

    Characters that the console cannot show are printed as escapes. If the reader of the output closes the
    pipe early (``| head``) or the user presses Ctrl-C, the command ends without a traceback. It then has the
    usual exit code of shells.
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
    """Prints lines, for example a help text. It is no error if the reader stops early (``| head``)."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()


def _drop_output() -> None:
    """Discards buffered output, so that the interpreter can exit without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

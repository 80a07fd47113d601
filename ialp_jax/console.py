"""Console output of commands: any encoding, closed pipes and Ctrl-C without tracebacks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

CLOSED_PIPE, INTERRUPTED = 141, 130  # exit codes, as shells report SIGPIPE and SIGINT


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Context for a whole command.

    Characters that the console cannot show are printed as escapes. If the reader of the output ends, as
    ``| head`` does, or at Ctrl-C, the command ends without a traceback and with the exit code of shells.
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
    """Prints lines such as help. If the reader stops early, as ``| head`` does, that is no error."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()


def _drop_output() -> None:
    """Drops buffered output, so that the interpreter can end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

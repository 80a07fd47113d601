"""Parts that all commands share: files of flags, help, and errors of one line. Imports no large library."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from absl import flags

from ialp_jax.errors import InputError, one_line

_HELP = r"--?(h|help|helpshort|helpfull|helpxml|\?)(=(1|t|true|y|yes))?"  # the names in absl
_FLAG_FILE = "  --flagfile: File with arguments, one per line. They are read as if they were in its place."
WIDTH = 110  # of a help line


def fail(message: object) -> NoReturn:
    """Prints one line on stderr and ends the process with exit code 2."""
    print(f"error: {one_line(str(message))}", file=sys.stderr)
    raise SystemExit(2)


def with_flag_files(argv: Sequence[str]) -> list[str]:
    """Replaces each ``--flagfile=FILE`` with the arguments in the file, one per line.

    Ends the process with a one-line error if a file cannot be read.
    """
    try:
        return [*argv[:1], *flags.FlagValues().read_flags_from_files(argv[1:], force_gnu=False)]
    except UnicodeDecodeError as error:
        fail(f"--flagfile: the file is not a text in UTF-8 ({error})")
    except flags.Error as error:
        cause = error.__context__
        if isinstance(cause, OSError):
            fail(f"--flagfile={cause.filename}: cannot be read ({cause.strerror})")
        fail(error)


def help_asked(argv: Sequence[str]) -> str:
    """The help that the arguments ask for: "full", "short", or "" if they ask for none."""
    asked = [match[1].lower() for arg in argv[1:] if (match := re.fullmatch(_HELP, arg, re.IGNORECASE))]
    if not asked:
        return ""
    return "full" if {"helpfull", "helpxml"} & set(asked) else "short"


def positional(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Reads the flags of a command into ``values``; returns the other arguments.

    Ends the process with a one-line error after a wrong flag.
    """
    try:
        return values(argv)[1:]
    except flags.Error as error:
        fail(error)


def flag_lines(defined: Iterable[Any], full: bool) -> list[str]:
    """One help line for each absl flag: the first sentence of its text or, if ``full``, the whole text.

    If ``full``, the last line explains ``--flagfile``, which every command has.
    """
    if full:
        return [*(f"  --{flag.name}: {flag.help}" for flag in defined), _FLAG_FILE]
    return [f"  --{flag.name:<15}{first_sentence(flag.help)}" for flag in defined]


def first_sentence(text: str) -> str:
    """The first sentence of a help text, without the choices that absl puts before the help of an enum."""
    return re.sub(r"^<.*?>: ", "", text).partition(". ")[0].partition("; ")[0].removesuffix(".")


def check_no_argument(rest: Sequence[str]) -> None:
    """Raises InputError if an argument is not a flag."""
    if rest:
        raise InputError(f"{rest[0]!r} is not a flag; all arguments are given as --name=value")

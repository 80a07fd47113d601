"""Exceptions that end a command with one line."""

import errno
import importlib.util
from pathlib import Path

# Error numbers of the system for a folder or disk that cannot be written.
UNWRITABLE = frozenset(
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EFBIG",
        "EROFS",
        "EACCES",
        "EPERM",
        "ENOTDIR",
        "EISDIR",
        "EEXIST",
        "EIO",
    )
)


class InputError(Exception):
    """A bad flag, config, file, model or run folder; the message is one line with the remedy."""

    def __str__(self) -> str:
        """Returns one printable line, even if the message quotes a file or an error of another library."""
        return one_line(super().__str__())


class NotFiniteError(InputError):
    """Training gave NaN or infinity; a search of settings goes on with the next setting."""


class Terminated(BaseException):
    """The process got SIGTERM or Ctrl-C; the message says what was saved."""

    def __init__(self, message: str) -> None:
        """Stores the message. Python lets codecs rewrite the message of a class without ``__init__``."""
        super().__init__(message)


def missing_package(user: str, package: str, extra: str) -> InputError:
    """The error if a package of an extra cannot be imported; ``user`` is the option or module."""
    return InputError(
        f"{user} needs {package}, which cannot be imported; "
        f"run python -m pip install 'ialp_jax[{extra}]' (in a clone: '.[{extra}]')"
    )


def require(user: str, extra: str, *packages: str) -> None:
    """Raises InputError that names the extra if one of its packages is not installed. Imports nothing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_package(user, package, extra)


def expanded(path: str, flag: str) -> str:
    """Replaces ``~`` or ``~user`` in a path by the home folder. Raises InputError for an unknown user."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise InputError(f"{flag}={path}: no such home folder ({error})") from None


def one_line(text: str) -> str:
    """Returns a text as one line; escapes control characters, which could change the terminal."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)

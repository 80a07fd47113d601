"""Exceptions that end a command with a one-line error message."""

import errno
import importlib.util
import re
from pathlib import Path

# Error numbers of the operating system that mean that a folder or disk cannot be written.
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
    """The error for a bad flag, config, file, model or run folder. Its message is one line with a remedy."""

    def __str__(self) -> str:
        """Returns the message as one printable line, even if it quotes a file or another library's error."""
        return one_line(super().__str__())


class NotFiniteError(InputError):
    """Training gave NaN or infinity. A search that tunes settings then tries the next setting."""


class Terminated(BaseException):
    """The process received SIGTERM or Ctrl-C. The message says what was saved."""

    def __init__(self, message: str) -> None:
        """Stores the message. Python lets codecs rewrite the message of a class without ``__init__``."""
        super().__init__(message)


def missing_package(user: str, package: str, extra: str) -> InputError:
    """Makes the error for a package that the option or module ``user`` needs but cannot import."""
    return InputError(
        f"{user} needs {package}, which cannot be imported; "
        f"run python -m pip install 'ialp_jax[{extra}]' (in a clone: '.[{extra}]')"
    )


def require(user: str, extra: str, *packages: str) -> None:
    """Raises InputError if one of the packages is not installed. The message names the extra to install."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_package(user, package, extra)


def expanded(path: str, flag: str) -> str:
    """Replaces ``~`` or ``~user`` in a path with the home folder. Raises InputError for an unknown user."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise InputError(f"{flag}={path}: no such home folder ({error})") from None


def check_local(flag: str, path: str) -> None:
    """Raises InputError if a path is the URL of another place, because all files are local."""
    if re.match(r"[A-Za-z][\w+.-]*://", path):
        raise InputError(f"{flag}={path}: must be a local path, not a URL")


def one_line(text: str) -> str:
    """Returns a text as one line. Escapes control characters, because they could change the terminal."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)

"""The exceptions that end a command with one line."""

import errno
import importlib.util
from pathlib import Path

# What the system says of a folder or disk that cannot be written.
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
    """A bad flag, config, file, model or run folder; the message is one line that says how to mend it."""

    def __str__(self) -> str:
        """One printable line, whatever the file or the other library's message holds that is quoted in it."""
        return one_line(super().__str__())


class NotFiniteError(InputError):
    """Training gave NaN or infinity: a bad setting, which a search of settings takes for a bad one."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM, Ctrl-C); the message says what was saved."""


def missing_package(user: str, package: str, extra: str) -> InputError:
    """The error for a package of an extra that cannot be imported; ``user`` is the option or module."""
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
    """A path with ``~`` or ``~user`` replaced by that home folder. Raises InputError if it is not known."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise InputError(f"{flag}={path}: no such home folder ({error})") from None


def one_line(text: str) -> str:
    """Text without line ends, and without what a terminal would obey: control characters are spelled out."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)

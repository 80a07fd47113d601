"""The exceptions that end a command with one line."""

import errno

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


class NotFiniteError(InputError):
    """Training gave NaN or infinity: a bad setting, which a search of settings takes for a bad one."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM); the message says what was saved."""

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

    def __str__(self) -> str:
        """One printable line, whatever the file or the other library's message holds that is quoted in it."""
        return one_line(super().__str__())


class NotFiniteError(InputError):
    """Training gave NaN or infinity: a bad setting, which a search of settings takes for a bad one."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM); the message says what was saved."""


def one_line(text: str) -> str:
    """Text without line ends, and without what a terminal would obey: control characters are spelled out."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)

"""The one exception for what a user can mend: shown as one line, exit code 2."""


class InputError(Exception):
    """A bad flag, config, file, model or run folder; the message is one line that says how to mend it."""


class NotFiniteError(InputError):
    """Training gave NaN or infinity: a bad setting, which a search of settings takes for a bad one."""

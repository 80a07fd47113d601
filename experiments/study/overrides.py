"""Settings of a run by their paths: as text on a command line, as JSON of tuned values, as search spaces."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from experiments.config import Config
from ialp_jax.agents.config import renamed_hint
from ialp_jax.errors import InputError
from ialp_jax.simulator.config import replaced


def kind(config: Config, path: str, source: str) -> type:
    """The type of the setting at ``a.b``. Raises InputError, naming ``source``, where there is none."""
    *parents, name = path.split(".")
    try:
        holder = functools.reduce(getattr, parents, config)
        field = {field.name: field for field in dataclasses.fields(holder)}[name]
    except (AttributeError, KeyError, TypeError):
        hint = renamed_hint(path) or "; --helpfull lists all settings"
        raise InputError(f"{source}: no such setting: {path}{hint}") from None
    options = [part for part in typing.get_args(field.type) or (field.type,) if part is not type(None)]
    if dataclasses.is_dataclass(options[0]):
        raise InputError(f"{source}: {path} is a group of settings; name one of them")
    return options[0]


def value_at(config: Config, path: str) -> Any:
    """The value of the setting at ``a.b``."""
    return functools.reduce(getattr, path.split("."), config)


def overridden(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """A copy of a run's configuration with other values.

    Args:
      config: stays as it is.
      values: by path; a whole number may stand for a float.
      source: the flag or file that they come from, for messages.

    Raises:
      InputError: an unknown path or a value of another type.
    """
    checked = {}
    for path, value in values.items():
        wanted = kind(config, path, source)
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise InputError(f"{source}: {path}={value!r} must be of type {wanted.__name__}")
        checked[path] = value
    return replaced(config, checked)


def parsed(config: Config, text: str, source: str) -> dict[str, Any]:
    """The values in ``a.b=1;c.d=text``, each of the type of its setting in ``config``.

    Raises:
      InputError: a part is not ``path=value``, the path is unknown, or the value does not fit.
    """
    values = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        path, equals, written = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"{source}: {part!r} must be path=value; several are parted by ';'")
        wanted = kind(config, path, source)
        readers = {bool: {"true": True, "false": False}.__getitem__}
        try:
            values[path] = readers.get(wanted, wanted)(written)
        except (KeyError, ValueError):
            raise InputError(f"{source}: {path}={written} must be of type {wanted.__name__}") from None
    return values

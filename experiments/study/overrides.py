"""Reads and sets single settings by their dotted path, such as ``agents.a2c.learning_rate``."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from experiments.config import Config
from ialp_jax.agents.config import renamed_hint
from ialp_jax.errors import InputError
from ialp_jax.simulator.config import replaced


def setting_type(config: Config, path: str, source: str) -> type:
    """The type of the setting at a path such as ``a.b``.

    Raises:
      InputError: the path does not exist, or is a group of settings; the message names ``source``.
    """
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
    """The value of the setting at a path such as ``a.b``."""
    return functools.reduce(getattr, path.split("."), config)


def overridden(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """A copy of a configuration in which some settings have new values.

    Args:
      config: the configuration to copy; it is not changed.
      values: path -> new value; a float setting also accepts an integer.
      source: flag or file that holds the values; error messages name it.

    Raises:
      InputError: a path is unknown or a value has the wrong type.
    """
    checked = {}
    for path, value in values.items():
        wanted = setting_type(config, path, source)
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise InputError(f"{source}: {path}={value!r} must be of type {wanted.__name__}")
        checked[path] = value
    return replaced(config, checked)


def parsed(config: Config, text: str, source: str) -> dict[str, Any]:
    """Parses ``a.b=1;c.d=text``; each value gets the type of its setting in ``config``.

    Raises:
      InputError: a part is not ``path=value``, a path is unknown, or a value has the wrong type.
    """
    values = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        path, equals, written = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"{source}: {part!r} must be path=value; put ';' between several settings")
        wanted = setting_type(config, path, source)
        readers = {bool: {"true": True, "false": False}.__getitem__}
        try:
            values[path] = readers.get(wanted, wanted)(written)
        except (KeyError, ValueError):
            raise InputError(f"{source}: {path}={written} must be of type {wanted.__name__}") from None
    return values

"""Limits for the values of settings, declared at the fields, and one function that checks all limits.

    learning_rate: float = setting(1e-3, above=0)

Rules about several fields are in the `check` method of the config class. This module needs no JAX.
"""

import dataclasses
from typing import Any, NamedTuple

from ialp_jax.errors import InputError

LIMITS = "limits"  # in a field's metadata


class Limits(NamedTuple):
    """Values that a setting may have; see `setting`."""

    above: float | None
    at_least: float | None
    below: float | None
    at_most: float | None
    choices: tuple[str, ...]
    acts_if: tuple[str, ...]
    shapes: bool

    def allow(self, value: Any) -> bool:
        """Whether a value is within the limits; None means "not set" and is always allowed."""
        if value is None:
            return True
        if self.choices:
            return value in self.choices
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def text(self) -> str:
        """The limits in words, such as ``must be positive``."""
        if self.choices:
            return f"must be one of {', '.join(self.choices)}"
        low = self.above if self.at_least is None else self.at_least
        high = self.below if self.at_most is None else self.at_most
        if low is not None and high is not None:
            opening, closing = "[("[self.at_least is None], "])"[self.at_most is None]
            return f"must be in {opening}{low}, {high}{closing}"
        if low is not None:
            positive = "positive" if low == 0 else f"above {low}"
            return f"must be {positive if self.at_least is None else f'at least {low}'}"
        return f"must be {'below' if self.at_most is None else 'at most'} {high}"


def setting(
    default: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
    acts_if: tuple[str, ...] = (),
    shapes: bool = False,
) -> Any:
    """A field of a config dataclass, with the limits of its values.

    Args:
      default: value of the setting if nobody sets it.
      above, at_least, below, at_most: limits of a number; ``above`` and ``below`` exclude the limit itself.
      choices: allowed values of a text setting.
      acts_if: name of another field of this class, followed by the values of that field for which this
        setting has an effect. If the other field has a different value, this setting must keep its default.
      shapes: whether array shapes depend on this setting, so that each value needs its own compiled program.
    """
    limits = Limits(above, at_least, below, at_most, choices, acts_if, shapes)
    return dataclasses.field(default=default, metadata={LIMITS: limits})


def check(config: Any, section: str) -> None:
    """Checks the values of a config dataclass against the limits of its fields.

    Args:
      config: instance of a dataclass; fields without limits are skipped.
      section: dotted path of the section, for the message.

    Raises:
      InputError: a value is outside its limits, or a setting that has no effect was changed.
    """
    for field in dataclasses.fields(config):
        limits, value = field.metadata.get(LIMITS), getattr(config, field.name)
        if limits is None:
            continue
        where = f"--config.{section}.{field.name}={value!r}"
        if not limits.allow(value):
            raise InputError(f"{where} {limits.text()}")
        if limits.acts_if and value != field.default:
            other, *values = limits.acts_if
            if (current := getattr(config, other)) not in values:
                raise InputError(
                    f"{where} acts only with {other}={' or '.join(values)}; {other} is {current}, "
                    f"so leave {field.name} at {field.default!r}"
                )

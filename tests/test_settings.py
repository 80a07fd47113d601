"""Tests which values the limits of settings refuse, and how error messages describe the limits."""

import dataclasses

import pytest

from ialp_jax.errors import InputError
from ialp_jax.settings import check, setting


@dataclasses.dataclass
class Example:
    positive: float = setting(1.0, above=0)
    above_one: float = setting(2.0, above=1)
    count: int = setting(1, at_least=1)
    share: float = setting(0.5, at_least=0, at_most=1)
    half_open: float = setting(0.5, at_least=0, below=1)
    below_one: float = setting(0.5, below=1)
    at_most_one: float = setting(0.5, at_most=1)
    mode: str = setting("a", choices=("a", "b"))
    optional: float | None = setting(None, above=0)
    only_with_b: int = setting(3, acts_if=("mode", "b"))
    free: int = 0


@pytest.mark.parametrize(
    ("name", "legal", "refused", "rule"),
    [
        ("positive", (1e-9, 5.0), (0.0, -1.0), "must be positive"),
        ("above_one", (1.1,), (1.0,), "must be above 1"),
        ("count", (1, 7), (0,), "must be at least 1"),
        ("share", (0.0, 1.0), (-0.1, 1.1), "must be in [0, 1]"),
        ("half_open", (0.0, 0.9), (-0.1, 1.0), "must be in [0, 1)"),
        ("below_one", (-5.0, 0.9), (1.0,), "must be below 1"),
        ("at_most_one", (-5.0, 1.0), (1.1,), "must be at most 1"),
        ("mode", ("a", "b"), ("c",), "must be one of a, b"),
        ("optional", (None, 0.1), (0.0,), "must be positive"),
    ],
)
def test_limits(name, legal, refused, rule):
    for value in legal:
        check(Example(**{name: value}), "x.y")
    for value in refused:
        with pytest.raises(InputError) as error:
            check(Example(**{name: value}), "x.y")
        assert str(error.value) == f"--config.x.y.{name}={value!r} {rule}"


def test_a_value_that_cannot_act_is_refused():
    check(Example(mode="b", only_with_b=4), "x")
    with pytest.raises(InputError) as error:
        check(Example(only_with_b=4), "x")
    assert str(error.value) == (
        "--config.x.only_with_b=4 acts only with mode=b; mode is a, so leave only_with_b at 3"
    )

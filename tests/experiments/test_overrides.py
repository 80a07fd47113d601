"""A path and a value override a setting. A value of the wrong type gives a one-line error."""

from __future__ import annotations

import pytest

from experiments.config import Config
from experiments.study.overrides import overridden, parsed, value_at
from ialp_jax.errors import InputError


def test_text_is_parsed_to_typed_values_and_the_config_is_copied():
    text = "agents.a2c.trace=1; num_seeds = 4;data.name=coat;evaluation.greedy=true;simulator.patience=3;"
    values = parsed(Config(), text, "--x")
    assert values == {
        "agents.a2c.trace": 1.0,
        "num_seeds": 4,
        "data.name": "coat",
        "evaluation.greedy": True,
        "simulator.patience": 3.0,  # its type is float or None
    }
    before, config = Config(), Config()
    changed = overridden(config, values, "--x")
    assert config == before
    for path, value in values.items():
        assert value_at(changed, path) == value
    assert type(overridden(config, {"agents.a2c.trace": 1}, "--x").agents.a2c.trace) is float
    assert parsed(config, "", "--x") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agents.a2c.trase=1", "no such setting: agents.a2c.trase"),
        ("agents.a2c.trace.x=1", "no such setting"),
        ("agents.a2c=1", "group of settings"),
        ("num_seeds=1.5", "num_seeds=1.5 must be of type int"),
        ("evaluation.greedy=yes", "must be of type bool"),
        ("num_seeds", "must be path=value"),
    ],
)
def test_a_wrong_path_or_value_is_named(text, message):
    with pytest.raises(InputError, match=r"^--x: ") as error:
        parsed(Config(), text, "--x")
    assert message in str(error.value)


def test_a_value_must_have_the_type_of_its_setting():
    for value in ("3", 2.5, True, None):
        with pytest.raises(InputError, match=r"tuned\.json: num_seeds=.* must be of type int"):
            overridden(Config(), {"num_seeds": value}, "tuned.json")

import pytest

from ialp_jax.errors import InputError
from ialp_jax.llm.config import EmbeddedConfig, LLMConfig


def test_defaults_are_possible():
    LLMConfig().check()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("mode", "oracle"),
        ("template", "haiku"),
        ("normalise", "max"),
        ("none_rule", "always"),
        ("none_quantile", 1.5),
        ("dtype", "float64"),
        ("device", "cuda:x"),
        ("batch_size", 0),
        ("shard_size", 0),
        ("threads", -1),
        ("revision", "main"),
    ],
)
def test_impossible_values_name_their_flag(knob, value):
    with pytest.raises(InputError, match=rf"^--config\.llm\.{knob} must be [^\n]+$"):
        LLMConfig(**{knob: value}).check()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("layers", 0),
        ("heads", 3),
        ("hidden", 100),
        ("vocabulary", 10),
        ("context", 8),
        ("steps", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("holdout", 1.0),
    ],
)
def test_impossible_embedded_values_name_their_flag(knob, value):
    with pytest.raises(InputError, match=rf"^--config\.llm\.embedded\.{knob} must be"):
        LLMConfig(embedded=EmbeddedConfig(**{knob: value})).check()

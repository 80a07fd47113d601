import dataclasses

import pytest

from ialp_jax.errors import InputError
from ialp_jax.llm.config import EmbeddedConfig, LLMConfig, LoraConfig


def test_defaults_are_possible():
    LLMConfig().check()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("mode", "oracle"),
        ("template", "haiku"),
        ("chat", "maybe"),
        ("chat", "on"),
        ("permutations", 0),
        ("permutations", 2),
        ("max_new_tokens", 0),
        ("retries", -1),
        ("on_invalid", "guess"),
        ("normalise", "max"),
        ("none_rule", "always"),
        ("none_quantile", 1.5),
        ("dtype", "float64"),
        ("device", "cuda:x"),
        ("batch_size", 0),
        ("shard_size", 0),
        ("threads", -1),
        ("revision", "main"),
        ("adapter_use", "glue"),
    ],
)
def test_impossible_values_name_their_flag(knob, value):
    with pytest.raises(InputError, match=rf"^--config\.llm\.{knob}(=\S+)? must be [^\n]+$"):
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
    with pytest.raises(InputError, match=rf"^--config\.llm\.embedded\.{knob}(=\S+)? must be"):
        LLMConfig(embedded=EmbeddedConfig(**{knob: value})).check()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("steps", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("rank", 0),
        ("alpha", 0.0),
        ("dropout", 1.0),
        ("targets", " , "),
        ("negatives", -1),
        ("negative_sampling", "best"),
        ("none_share", 1.0),
        ("holdout", 0.0),
        ("save_every", 0),
        ("dtype", "int8"),
    ],
)
def test_impossible_lora_values_name_their_flag(knob, value):
    with pytest.raises(InputError, match=rf"^--config\.llm\.lora\.{knob}(=\S+)? must be"):
        LLMConfig(lora=LoraConfig(**{knob: value})).check()


def test_a_run_labels_with_one_adapter():
    LLMConfig(adapter="a").check()
    with pytest.raises(InputError, match=r"^--config\.llm\.adapter must be empty if"):
        LLMConfig(adapter="a", lora=LoraConfig(steps=1)).check()


def test_lora_does_not_read_the_users_who_set_the_threshold_of_none():
    LLMConfig(lora=LoraConfig(holdout=0.05)).check()
    with pytest.raises(InputError, match=r"^--config\.llm\.lora\.holdout must be at least"):
        LLMConfig(lora=LoraConfig(steps=1, holdout=0.05)).check()


def test_a_config_is_unchanged_when_it_reaches_the_worker():
    config = LLMConfig(model="m", embedded=EmbeddedConfig(hidden=32), lora=LoraConfig(rank=3))
    assert LLMConfig.from_dict(dataclasses.asdict(config)) == config


def test_settings_that_a_mode_ignores_are_not_part_of_how_it_asks():
    for mode, unused in {
        "likelihood": {"retries": 3, "max_new_tokens": 9, "chat": "off"},
        "choice": {"retries": 3, "max_new_tokens": 9, "normalise": "mean"},
        "generate": {"normalise": "mean"},
    }.items():
        config = LLMConfig(mode=mode)
        assert LLMConfig(mode=mode, **unused).asking() == config.asking()
        used = config.asking().keys() - {"mode"}
        assert not used & unused.keys()
        config.check()


def test_more_candidates_than_letters_are_refused_at_once():
    from experiments.config import Config

    config = Config()
    config.labelling.candidates = 26
    config.check()
    config.llm.mode = "choice"
    with pytest.raises(
        InputError, match=r"^--config\.labelling\.candidates=26: [^\n]*letters name at most 25"
    ):
        config.check()

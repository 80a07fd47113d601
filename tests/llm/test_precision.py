"""The dtype on a CPU is measured: bfloat16 only if it multiplies faster and ranks the candidates alike."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

torch = pytest.importorskip("torch")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import loading, memory  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402
from ialp_jax.llm.worker import precision  # noqa: E402

TEMPLATE = templates.TEMPLATES["list"]


@pytest.fixture(autouse=True)
def no_model_is_small(monkeypatch):
    monkeypatch.setattr(precision, "SMALLEST", 0)


def choose(folder, **settings):
    config = LLMConfig(model=str(folder), **settings)
    return precision.choose(folder, titles(), TEMPLATE, config, draw(20))


@pytest.mark.parametrize("mode", ["likelihood", "choice", "generate"])
def test_bfloat16_needs_speed_and_equal_ranks(wide_folder, monkeypatch, mode):
    monkeypatch.setattr(precision, "speed_ratio", lambda sizes: 1.3)
    choice = choose(wide_folder, mode=mode)
    facts = choice.facts
    assert facts["bfloat16_speed"] == 1.3
    assert 0.9 < facts["bfloat16_rank_correlation"] <= 1
    assert 0.7 < facts["bfloat16_same_best"] <= 1
    alike = facts["bfloat16_rank_correlation"] >= 0.99 or facts["bfloat16_same_best"] == 1
    assert choice.dtype == ("bfloat16" if alike else "float32")
    monkeypatch.setattr(precision, "agreement", lambda one, other: (0.98, 0.9))
    assert choose(wide_folder, mode=mode).dtype == "float32"
    monkeypatch.setattr(precision, "agreement", lambda one, other: (0.98, 1.0))
    assert choose(wide_folder, mode=mode).dtype == "bfloat16"
    monkeypatch.setattr(precision, "agreement", lambda one, other: (0.99, 0.9))
    assert choose(wide_folder, mode=mode).dtype == "bfloat16"


def test_a_slow_bfloat16_is_not_tried(model_folder, monkeypatch):
    monkeypatch.setattr(precision, "speed_ratio", lambda sizes: 1.1)
    monkeypatch.setattr(precision, "TransformersEngine", None)
    assert choose(model_folder) == precision.Choice("float32", {"bfloat16_speed": 1.1})


def test_a_small_model_is_not_measured(model_folder, monkeypatch):
    monkeypatch.setattr(precision, "SMALLEST", memory.read_sizes(model_folder).body + 1)
    monkeypatch.setattr(precision, "speed_ratio", None)
    assert choose(model_folder) == precision.Choice("float32", {})


def test_the_first_prompts_are_scored_in_both_dtypes(model_folder, monkeypatch):
    seen = []
    real = precision.scores_of
    monkeypatch.setattr(precision, "speed_ratio", lambda sizes: 2.0)
    monkeypatch.setattr(
        precision,
        "scores_of",
        lambda engine, prompts: seen.append((engine.model.dtype, prompts)) or real(engine, prompts),
    )
    choose(model_folder)
    assert [dtype for dtype, _ in seen] == [torch.float32, torch.bfloat16]
    for _, prompts in seen:
        np.testing.assert_array_equal(prompts.candidates, draw(20).candidates[: precision.NUM_PROMPTS])


def test_models_that_are_scored_one_by_one_are_compared_too(model_folder, monkeypatch):
    from ialp_jax.llm.modes import masks

    def refuse(*args):
        raise masks.CannotPackError

    monkeypatch.setattr(precision, "speed_ratio", lambda sizes: 2.0)
    monkeypatch.setattr(masks, "of_layers", refuse)
    assert choose(model_folder).facts["bfloat16_rank_correlation"] > 0.9


def test_the_comparison_needs_memory_for_float32_once(model_folder, monkeypatch):
    monkeypatch.setattr(precision, "speed_ratio", lambda sizes: 2.0)
    sizes = memory.read_sizes(model_folder)
    monkeypatch.setattr(memory, "need", lambda *args: memory.Need(4 * sizes.parameters, 0))
    monkeypatch.setattr(memory, "available", lambda device: 5 * sizes.parameters)
    choose(model_folder, workers=3)
    monkeypatch.setattr(memory, "available", lambda device: 3 * sizes.parameters)
    with pytest.raises(InputError, match=r"in float32\).*try --config\.llm\.dtype=bfloat16"):
        choose(model_folder)


def test_agreement_by_hand():
    one = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1]])
    assert precision.agreement(one, one * 2) == (1.0, 1.0)
    assert precision.agreement(one, -one) == (-1.0, 0.0)
    half = np.stack([one[0], -one[1]])
    assert precision.agreement(one, half) == (0.0, 0.5)
    swapped = np.array([[1.0, 3, 2, 4]])
    assert precision.agreement(one[:1], swapped) == (pytest.approx(0.8), 1.0)
    ties = precision.agreement(np.array([[1.0, 1, 1]]), np.array([[1.0, 2, 3]]))
    assert ties[0] == 0.0
    assert precision.agreement(one, np.full_like(one, np.nan)) == (0.0, 0.0)


def test_the_ratio_is_measured_for_the_sizes_of_the_model(model_folder, monkeypatch):
    products = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: products.append((a.shape, b.shape, a.dtype)) or real(a, b))
    sizes = memory.read_sizes(model_folder)
    assert 0 < precision.speed_ratio(sizes) < 1000
    assert {b for _, b, _ in products} == {(sizes.hidden, sizes.intermediate)}
    assert {dtype for *_, dtype in products} == {torch.float32, torch.bfloat16}
    products.clear()
    precision.speed_ratio(sizes._replace(hidden=512, intermediate=20_000_000 // 512))
    ((rows, _), _, _) = products[0]
    assert rows == precision.MOST_OPERATIONS // (2 * 512 * (20_000_000 // 512))


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({"model": "m"}, True),
        ({"model": "m", "device": "cpu"}, True),
        ({}, False),  # the embedded model
        ({"model": "m", "dtype": "float32"}, False),
        ({"model": "m", "device": "cuda"}, False),
        ({"model": "m", "engine": "ray"}, False),
    ],
)
def test_what_is_measured(settings, is_open, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.is_open(LLMConfig(**settings)) is is_open
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert precision.is_open(LLMConfig(**settings)) is (is_open and "device" in settings)


def test_without_a_measurement_auto_is_float32_on_a_cpu():
    assert loading.place("cpu", "auto") == ("cpu", "float32")

"""The dry run times real prompts. The tests compare the counted work with the work of labelling."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

torch = pytest.importorskip("torch")

import families  # noqa: E402

from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import loading, memory  # noqa: E402
from ialp_jax.llm.prompting import lengths, templates  # noqa: E402
from ialp_jax.llm.worker import trial  # noqa: E402

TEMPLATE = templates.TEMPLATES["list"]


def shape_of(folder, dtype="float32"):
    return trial.Shape(loading.read_config(folder), memory.read_sizes(folder), "cpu", dtype)


def measure(folder, samples, monkeypatch, clock=None, **settings):
    """Runs a trial; ``clock`` replaces the clock. Returns the speeds."""
    config = LLMConfig(model=str(folder), device="cpu", **settings)
    tokenizer, shape = loading.load_tokenizer(folder, ""), shape_of(folder)
    ruler = lengths.Ruler(tokenizer, folder, titles(), TEMPLATE, config, shape.sizes.context)
    if clock:
        monkeypatch.setattr(trial.time, "perf_counter", clock)
    return trial.measure(shape, tokenizer, folder, titles(), TEMPLATE, config, ruler, samples, 1e9)


@pytest.mark.parametrize("mode", ["likelihood", "choice", "generate"])
def test_every_prompt_of_a_short_trial_is_timed_once(wide_folder, monkeypatch, mode):
    labelled = []
    real = trial.label
    monkeypatch.setattr(
        trial, "label", lambda engine, prompts: labelled.append(prompts) or real(engine, prompts)
    )
    sample = draw(10)
    speeds = measure(wide_folder, [sample], monkeypatch, mode=mode, batch_size=4)
    warm_up, *timed = labelled
    assert warm_up.num_prompts == 4
    assert sorted(part.num_prompts for part in timed) == [2, 4, 4]
    rows = np.concatenate([np.concatenate([*part[:2]], axis=1) for part in timed])
    expected = np.concatenate([*sample[:2]], axis=1)
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(expected, axis=0))
    assert speeds.prompts == 10
    assert set(speeds.measured) == {(5, 4)}


def test_the_speed_is_the_counted_work_divided_by_the_time(wide_folder, monkeypatch):
    """The clock advances by one second at each reading, so each batch takes one second."""
    ticks = iter(range(1000))
    sample = draw(12)
    monkeypatch.setattr(trial, "SECONDS", 100.0)
    speeds = measure(wide_folder, [sample], monkeypatch, lambda: float(next(ticks)), batch_size=4)
    config = LLMConfig(model=str(wide_folder))
    tokenizer, sizes = loading.load_tokenizer(wide_folder, ""), memory.read_sizes(wide_folder)
    measured = lengths.Ruler(tokenizer, wide_folder, titles(), TEMPLATE, config, sizes.context).measure(
        sample
    )
    work = memory.forward_flops(
        sizes, measured.prompt.sum(), (measured.prompt**2).sum(), measured.scored.sum()
    )
    assert speeds.of((5, 4)) == pytest.approx(work / 3)  # three batches


def test_a_trial_ends_when_its_time_is_over(wide_folder, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(trial, "SECONDS", 2.0)
    speeds = measure(wide_folder, [draw(40)], monkeypatch, lambda: float(next(ticks)), batch_size=4)
    assert speeds.prompts == 8


def test_a_slow_model_is_timed_on_few_prompts(wide_folder, monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 1e-9)
    assert measure(wide_folder, [draw(40)], monkeypatch, batch_size=32).prompts == 1


def test_each_shape_has_its_speed_and_others_the_slowest(wide_folder, monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    speeds = measure(wide_folder, [draw(4), draw(6, candidates=9), draw(9)], monkeypatch)
    assert set(speeds.measured) == {(5, 4), (5, 9)}
    assert speeds.of((5, 9)) == speeds.measured[5, 9]
    assert speeds.of((5, 77)) == min(speeds.measured.values())
    assert trial.Speeds(7.0).of((5, 4)) == 7.0


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_large_model_gets_fewer_layers(name, tmp_path, monkeypatch):
    shape = shape_of(families.write(name, tmp_path))
    assert shape.smaller() is shape
    monkeypatch.setattr(trial, "MOST_PARAMETERS", shape.sizes.body * 0.6)
    smaller = shape.smaller()
    assert (smaller.sizes.layers, shape.sizes.layers) == (1, 2)
    assert len(smaller.build().model.layers) == 1
    assert smaller.sizes.head == shape.sizes.head
    assert len(shape.build().model.layers) == 2  # unchanged


def test_a_model_that_cannot_be_built_keeps_the_assumption(wide_folder, monkeypatch):
    def fail(self):
        raise ValueError("no such shape")

    monkeypatch.setattr(trial.Shape, "build", fail)
    assert measure(wide_folder, [draw(4)], monkeypatch) == trial.Speeds(5e8)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 13])
def test_a_spread_holds_every_number_once_and_begins_in_the_middle(count):
    numbers = trial.spread(count)
    assert sorted(numbers) == list(range(count))
    assert count < 4 or numbers[0] == count // 2

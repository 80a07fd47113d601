"""Two Ray workers give the bits of one, and of the plain engine."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

pytest.importorskip("torch")

from ialp_jax.llm import engines, prompts
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines import ray_data

TEMPLATE = prompts.TEMPLATES["titles"]


def build(folder, **settings):
    config = LLMConfig(model=str(folder), threads=1, device="cpu", batch_size=4, **settings)
    config.check()
    return engines.build(folder, titles(), TEMPLATE, config, (5, 4))


@pytest.fixture(scope="module")
def ray_started():
    yield pytest.importorskip("ray")
    ray_data.shut_down()


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_any_number_of_workers_gives_the_bits_of_the_plain_engine(model_folder, ray_started):
    histories, candidates = draw(30)
    plain = build(model_folder)
    expected, tokens = plain.answer(histories, candidates)
    for workers in (2, 1):
        engine = build(model_folder, engine="ray", workers=workers)
        answers, spent = engine.answer(histories, candidates)
        assert_same(answers, expected)
        assert spent == tokens
        asked = ray_started.get([replica.asked.remote() for replica in engine._replicas])
        assert len(asked) == workers
        assert sum(asked) == 8
        assert min(asked) >= 3
    np.testing.assert_array_equal(engine.unconditional(), plain.unconditional())
    assert engine.facts() == plain.facts() == {"device": "cpu", "dtype": "float32"}
    engine.check(histories[:2], candidates[:2])
    assert not engine.plain
    engine.plain = plain.plain = True
    assert_same(
        engine.answer(histories[:5], candidates[:5])[0], plain.answer(histories[:5], candidates[:5])[0]
    )

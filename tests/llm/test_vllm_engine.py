"""The vLLM engine sends the right requests and gives the same answers as the transformers engine."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

pytest.importorskip("torch")

import fake_vllm
import mistral_layout

from ialp_jax.errors import InputError
from ialp_jax.llm import engines
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines import vllm_engine
from ialp_jax.llm.prompting import templates


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mistral_layout.build(tmp_path_factory.mktemp("hub") / "mistral")


def build(folder, engine="vllm", **settings):
    config = LLMConfig(
        model=str(folder), pad_token="</s>", engine=engine, device="cpu", dtype="float32", **settings
    )
    return engines.build(folder, titles(), templates.TEMPLATES["list"], config, (5, 4))


@pytest.fixture
def fake(monkeypatch):
    return fake_vllm.install(monkeypatch)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "likelihood"},
        {"mode": "likelihood", "normalise": "mean"},
        {"mode": "choice"},
        {"mode": "choice", "chat": "off", "permutations": 2},
        {"mode": "generate", "retries": 1},
    ],
    ids=str,
)
def test_answers_are_those_of_the_transformers_engine(fake, folder, settings):
    prompts = draw(5)
    candidates = (prompts.candidates[:, :1] + np.arange(0, 44, 11, dtype=np.int32)) % 48 + 1  # no ties
    prompts = prompts._replace(candidates=candidates)
    expected, _ = build(folder, "transformers", **settings).answer(prompts)
    answers, tokens = build(folder, **settings).answer(prompts)
    for name in ("choice", "cause", "places"):
        np.testing.assert_array_equal(getattr(answers, name), getattr(expected, name))
    for name in ("scores", "none"):
        np.testing.assert_allclose(getattr(answers, name), getattr(expected, name), atol=1e-4)
        assert getattr(answers, name).dtype == getattr(expected, name).dtype
    assert tokens > 5 * 10


def test_unconditional_scores_are_those_of_the_transformers_engine(fake, folder):
    np.testing.assert_allclose(
        build(folder).unconditional(), build(folder, "transformers").unconditional(), atol=1e-4
    )


def test_requests_of_likelihood(fake, folder):
    engine = build(folder)
    engine.answer(draw(3))
    (llm,) = fake.instances
    assert llm.options["enable_prefix_caching"]
    assert llm.options["trust_remote_code"] is False
    assert llm.options["dtype"] == "float32"
    ((requests, parameters, adapter),) = llm.requests
    assert adapter is None
    assert len(requests) == 3 * 4  # requests with the same history are adjacent, for the prefix cache
    for p in range(3):
        ids = [request["prompt_token_ids"] for request in requests[4 * p : 4 * p + 4]]
        assert ids[0][0] == 1
        assert len({tuple(row[:10]) for row in ids}) == 1
    assert {(s.max_tokens, s.prompt_logprobs, s.temperature) for s in parameters} == {(1, 0, 0.0)}


def test_requests_of_choice_ask_for_the_letters(fake, folder):
    engine = build(folder, mode="choice")
    engine.answer(draw(3))
    ((requests, parameters, _),) = fake.instances[0].requests
    assert len(requests) == 3
    letters = engine._model._llm._tokenizer.convert_ids_to_tokens(parameters[0].logprob_token_ids)
    assert [letter.strip("▁") for letter in letters] == ["A", "B", "C", "D", "E"]
    assert {s.max_tokens for s in parameters} == {1}
    text = fake.instances[0]._tokenizer.decode(requests[0]["prompt_token_ids"])
    assert text.startswith("<s>[INST]")


def test_requests_of_generate(fake, folder):
    build(folder, mode="generate", max_new_tokens=3, retries=0).answer(draw(3))
    ((requests, parameters, _),) = fake.instances[0].requests
    assert len(requests) == 3
    assert {(s.max_tokens, s.logprob_token_ids, s.detokenize) for s in parameters} == {(3, None, False)}


def test_an_adapter_becomes_a_lora_request(fake, folder, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))
    build(folder, adapter=str(tmp_path)).answer(draw(3))
    (llm,) = fake.instances
    assert (llm.options["enable_lora"], llm.options["max_lora_rank"]) == (True, 16)
    assert llm.requests[0][2].lora_path == str(tmp_path)


def test_missing_vllm_gives_a_one_line_error(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match=r"^--config\.llm\.engine=vllm needs vllm, [^\n]*pip install vllm"):
        build(folder)


def test_a_model_that_vllm_cannot_load_gives_a_one_line_error(fake):
    with pytest.raises(InputError, match=r"vLLM does not load .*no-such-gpu \(vLLM finds no device\)$"):
        vllm_engine.VLLM("no-such-gpu", 128, "auto")

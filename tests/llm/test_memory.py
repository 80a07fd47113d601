"""A model's memory is estimated before loading, and a model that does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import titles

torch = pytest.importorskip("torch")

import mistral_layout  # noqa: E402

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm import engines  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import loading, memory  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.prompting import lengths, templates  # noqa: E402

TEMPLATE = templates.TEMPLATES["list"]


@pytest.fixture
def true_size(tmp_path):
    """Mistral-7B-Instruct without its weights: only configuration and tokenizer."""
    mistral_layout.write_tokenizer(tmp_path)
    mistral_layout.write_json(tmp_path / "config.json", mistral_layout.config(mistral_layout.TRUE_SIZES))
    return tmp_path


@pytest.mark.parametrize(("vocabulary", "parameters"), [(32000, 7_241_732_096), (32768, 7_248_023_552)])
def test_the_true_mistral_has_its_published_size(tmp_path, vocabulary, parameters):
    sizes = {**mistral_layout.TRUE_SIZES, "vocab_size": vocabulary}
    mistral_layout.write_json(tmp_path / "config.json", mistral_layout.config(sizes))
    read = memory.read_sizes(tmp_path)
    assert read.parameters == parameters
    assert read.body == parameters - 2 * vocabulary * 4096
    assert (read.layers, read.attention, read.key_value) == (32, 4096, 1024)
    needed = memory.need(read, None, 32, "bfloat16")
    assert needed.total == needed.weights == 2 * parameters
    assert round(needed.total / 1e9, 1) == 14.5
    assert memory.need(read, None, 32, "float32").total == 2 * needed.total


def test_sizes_are_those_of_the_loaded_model(model_folder):
    loaded = loading.load_model(model_folder, "cpu", "float32")
    sizes = memory.read_sizes(model_folder)
    assert sizes.parameters == sum(p.numel() for p in loaded.parameters())
    assert sizes.body == sizes.parameters - sizes.head  # embeddings are tied


def needed(folder, shape, dtype="float32", **settings):
    config = LLMConfig(model=str(folder), pad_token="</s>", **settings)
    sizes = memory.read_sizes(folder)
    tokenizer = loading.load_tokenizer(folder, config.pad_token)
    ruler = lengths.Ruler(tokenizer, folder, titles(), TEMPLATE, config, sizes.context)
    measured = ruler.measure(lengths.sample_prompts(len(titles()) - 1, shape))
    return memory.need(sizes, measured, config.batch_size, dtype).batch


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return mistral_layout.build(tmp_path_factory.mktemp("hub") / "toy")


def test_everything_that_enlarges_a_batch_is_counted(toy):
    one = needed(toy, (3, 2), batch_size=1)
    assert needed(toy, (3, 2), batch_size=32) == 32 * one > 0
    assert needed(toy, (3, 8), batch_size=1) > one
    assert needed(toy, (30, 2), batch_size=1) > one
    assert needed(toy, (3, 2), dtype="bfloat16", batch_size=1) < one
    choice, generate = (needed(toy, (3, 2), mode=mode) for mode in ("choice", "generate"))
    assert generate > choice  # generate needs a cache of keys and values
    assert needed(toy, (3, 2), mode="generate", max_new_tokens=100) > generate


@pytest.mark.parametrize("mode", ["likelihood", "choice", "generate"])
def test_the_estimate_of_a_batch_is_near_its_memory(toy, mode):
    """torch's profiler shows between 0.3 and 1.1 times the estimated memory."""
    config = LLMConfig(model=str(toy), pad_token="</s>", batch_size=16, mode=mode)
    scorer = Scorer(toy, titles(), TEMPLATE, config)
    prompts_ = lengths.sample_prompts(len(titles()) - 1, (10, 20)).rows(slice(16))
    with torch.profiler.profile(profile_memory=True) as profile:
        scorer.answer(prompts_)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    bytes_in_use = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    estimated = needed(toy, (10, 20), mode=mode, batch_size=16)
    assert 0.3 * estimated < bytes_in_use.max() < 1.1 * estimated


@pytest.mark.parametrize(
    ("free", "dtype", "says"),
    [
        (10e9, "bfloat16", "needs 14.6 GB (14.5 GB of weights in bfloat16 and 0.1 GB for a batch of 4)"),
        (20e9, "float32", "29.0 GB of weights in float32"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_figures(true_size, monkeypatch, free, dtype, says):
    monkeypatch.setattr(memory, "available", lambda device: int(free))
    config = LLMConfig(model=str(true_size), pad_token="</s>", dtype=dtype, device="cpu", batch_size=4)
    with pytest.raises(InputError) as error:
        engines.build(true_size, titles(), TEMPLATE, config, (10, 20))
    text = str(error.value)
    assert text.startswith(f"{true_size}: the model does not fit: it ")
    assert says in text
    assert f"and {free / 1e9:.1f} GB of memory are free" in text
    assert ("--config.llm.dtype=bfloat16" in text) == (dtype == "float32")
    assert "--config.llm.batch_size under 4" in text
    assert "\n" not in text


def test_a_model_that_fits_is_not_refused(true_size, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: int(16e9))
    config = LLMConfig(model=str(true_size), pad_token="</s>", dtype="bfloat16", device="cpu", batch_size=4)
    memory.require(true_size, titles(), TEMPLATE, config, (10, 20))
    large = LLMConfig(**{**vars(config), "batch_size": 512})
    with pytest.raises(InputError, match="for a batch of 512"):
        memory.require(true_size, titles(), TEMPLATE, large, (10, 20))
    memory.require(true_size, titles(), TEMPLATE, large, None)


def test_free_memory_is_that_of_the_machine():
    psutil = pytest.importorskip("psutil")
    assert memory.available("cpu") == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_folder_without_a_causal_model_gives_a_one_line_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(InputError, match=f"^{tmp_path}: not a readable causal language model [^\n]*$"):
        memory.read_sizes(tmp_path)

"""What a model needs is known before it is loaded, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import titles

torch = pytest.importorskip("torch")

import mistral_layout  # noqa: E402

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm import engines, memory, models, prompts, tokens  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402

TEMPLATE = prompts.TEMPLATES["list"]


@pytest.fixture
def true_size(tmp_path):
    """Mistral-7B-Instruct without its weights: configuration and tokenizer alone."""
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
    needed = memory.need(read, None, None, LLMConfig(), "bfloat16")
    assert needed.total == needed.weights == 2 * parameters
    assert round(needed.total / 1e9, 1) == 14.5
    assert memory.need(read, None, None, LLMConfig(), "float32").total == 2 * needed.total


def test_sizes_are_those_of_the_loaded_model(model_folder):
    loaded = models.load_model(model_folder, "cpu", "float32")
    sizes = memory.read_sizes(model_folder)
    assert sizes.parameters == sum(p.numel() for p in loaded.parameters())
    assert sizes.body == sizes.parameters - sizes.head  # embeddings are tied


def test_the_longest_prompt_and_the_batch_count(model_folder):
    tokenizer = models.load_tokenizer(model_folder, "")
    read = tokens.tokenise(tokenizer, titles(), prompts.TEMPLATES["titles"], 96)
    sizes = memory.read_sizes(model_folder)

    def needed(shape=(3, 2), dtype="float32", **settings):
        return memory.need(sizes, read, shape, LLMConfig(**settings), dtype)

    histories, candidates = memory.sample_prompts(len(titles()) - 1, (3, 2))
    assert needed().longest == tokens.prompt_lengths(read, histories, candidates).max() < 96
    assert needed().batch == 32 * needed(batch_size=1).batch > 0
    assert needed(shape=(3, 8)).batch > needed().batch > needed(dtype="bfloat16").batch
    assert 96 / 2 < needed(shape=(500, 1)).longest <= 96  # histories are cut to the context


def test_the_batch_is_near_what_a_forward_pass_takes(tmp_path):
    """What exists at once, by torch's own profiler, is under the estimate and not far under it."""
    folder = mistral_layout.build(tmp_path / "m")
    config = LLMConfig(model=str(folder), pad_token="</s>", batch_size=16)
    scorer = models.Scorer(folder, titles(), TEMPLATE, config)
    histories, candidates = (part[:16] for part in memory.sample_prompts(len(titles()) - 1, (10, 20)))
    with torch.profiler.profile(profile_memory=True) as profile:
        scorer.score(histories, candidates)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    needed = memory.need(memory.read_sizes(folder), scorer.tokens, (10, 20), config, "float32")
    assert 0.3 * needed.batch < held.max() < 1.1 * needed.batch


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


def test_what_fits_is_not_refused(true_size, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: int(16e9))
    config = LLMConfig(model=str(true_size), pad_token="</s>", dtype="bfloat16", device="cpu", batch_size=4)
    memory.require(true_size, titles(), TEMPLATE, config, (10, 20))
    large = LLMConfig(**{**vars(config), "batch_size": 512})
    with pytest.raises(InputError, match="for a batch of 512"):
        memory.require(true_size, titles(), TEMPLATE, large, (10, 20))
    memory.require(true_size, titles(), TEMPLATE, large, None)


def test_free_memory_is_what_the_machine_says():
    psutil = pytest.importorskip("psutil")
    assert memory.available("cpu") == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_folder_without_a_causal_model_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(InputError, match=f"^{tmp_path}: not a readable causal language model [^\n]*$"):
        memory.read_sizes(tmp_path)

"""Logits in chunks equal the model's logits, and need memory that does not grow with the vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import families  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import loading, memory  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.modes import head  # noqa: E402
from ialp_jax.llm.prompting import lengths, templates  # noqa: E402

TEMPLATE = templates.TEMPLATES["titles"]
VOCABULARY = 20_000


class Largest(TorchDispatchMode):
    """Number of elements of the largest tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.fixture(scope="module")
def wordy(model_folder, tmp_path_factory):
    """A model whose vocabulary is far larger than its other parts."""
    folder = tmp_path_factory.mktemp("wordy")
    torch.manual_seed(0)
    config = families.configuration("gemma2", VOCABULARY)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return folder


def scorer(folder, **settings):
    return Scorer(folder, titles(), TEMPLATE, LLMConfig(model=str(folder), **settings))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_logits_are_bounded(wordy, monkeypatch, batch_size):
    subject = scorer(wordy, batch_size=batch_size)
    expected = subject.score(draw(8, candidates=20))[0]
    monkeypatch.setattr(head, "CHUNK", 40 * VOCABULARY)
    with Largest() as largest:
        result = subject.score(draw(8, candidates=20))[0]
    assert largest.elements == 40 * VOCABULARY
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_chunk_is_at_least_a_row():
    assert head.rows_at_once(262_144) == 128
    assert head.rows_at_once(2**30) == 1


def test_the_gradients_of_lora_do_not_depend_on_chunks(wordy, monkeypatch):
    def learned():
        subject = scorer(wordy)
        scores = subject.alternatives(draw(2))
        (scores.softmax(-1)[:, 0]).sum().backward()
        return scores.detach(), [parameter.grad for parameter in subject.model.parameters()]

    expected = learned()
    monkeypatch.setattr(head, "CHUNK", 7 * VOCABULARY)
    with Largest() as largest:
        result = learned()
    assert largest.elements <= max(7 * VOCABULARY, VOCABULARY * 32)  # the size of the embedding itself
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)
    assert max(gradient.abs().max() for gradient in result[1] if gradient is not None) > 0


def test_the_decoder_is_restored(wordy, monkeypatch):
    model = loading.load_model(wordy, "cpu", "float32")
    ids = torch.arange(3, 13)[None]
    expected = model(input_ids=ids).logits
    hidden = head.decoder_of(model)(input_ids=ids).last_hidden_state
    torch.testing.assert_close(head.logits_of(model, hidden[0]), expected[0])
    with pytest.raises(RuntimeError):
        head.logits_of(model, torch.zeros(3, 7))  # wrong width
    torch.testing.assert_close(model(input_ids=ids).logits, expected)


@pytest.mark.parametrize("mode", ["likelihood", "choice"])
def test_the_estimate_is_near_the_memory_of_a_batch(wordy, monkeypatch, mode):
    """Compares the estimate with torch's profiler. Attention computes all pairs of tokens at once."""
    monkeypatch.setattr(head, "CHUNK", 2**20)
    subject = scorer(wordy, mode=mode, batch_size=16)
    sampled = lengths.sample_prompts(len(titles()) - 1, (10, 20)).rows(slice(16))
    with torch.profiler.profile(profile_memory=True) as profile:
        subject.answer(sampled)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    bytes_in_use = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).max()
    config = LLMConfig(model=str(wordy), mode=mode, batch_size=16)
    sizes = memory.read_sizes(wordy)
    ruler = lengths.Ruler(loading.load_tokenizer(wordy, ""), wordy, titles(), TEMPLATE, config, sizes.context)
    measured = ruler.measure(sampled)
    estimated = memory.need(sizes, measured, 16, "float32").batch
    assert 0.3 * estimated < bytes_in_use < 1.1 * estimated
    if mode == "likelihood":
        assert bytes_in_use < measured.scored.sum() * VOCABULARY * 4  # less than all logits in float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_largest_vocabularies_need_bounded_memory(model_folder, tmp_path, dtype):
    """At 262,144 tokens, a batch of 3 prompts has 0.5 GB of logits in float32, and as much for each copy.

    Only one chunk is in memory, and a few copies of rows in float32.
    """
    torch.manual_seed(0)
    config = families.configuration("llama", 262_144)
    config.num_hidden_layers, config.hidden_size, config.tie_word_embeddings = 1, 8, True
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(model_folder).save_pretrained(tmp_path)
    subject = scorer(tmp_path, dtype=dtype)
    with torch.profiler.profile(profile_memory=True) as profile:
        scores = subject.score(draw(3, candidates=60))[0]
    assert np.isfinite(scores).all()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    bytes_in_use = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).max()
    element = 4 if dtype == "float32" else 2
    assert 2**25 * element <= bytes_in_use < 2**25 * (element + 1)

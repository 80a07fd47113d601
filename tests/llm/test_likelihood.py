import numpy as np
import pytest
from small_world import prompts as draw
from small_world import sharpen, titles

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.engines.transformers_engine import TransformersEngine  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402
from ialp_jax.types import Prompts  # noqa: E402


def scorer(folder, template="titles", **settings):
    return TransformersEngine(
        folder, titles(), templates.TEMPLATES[template], LLMConfig(model=str(folder), **settings)
    )


def gpt2(folder, model_folder):
    """A model with learned absolute positions, unlike Mistral's rotary ones."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=96,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    sharpen(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("template", ["titles", "list"])
def test_scores_equal_those_of_whole_sequences(model_folder, template):
    subject = scorer(model_folder, template, batch_size=4)
    prompts = draw(11)
    assert len(set((prompts.histories > 0).sum(1))) > 2
    fast, tokens = subject.score(prompts)
    subject.plain = True
    plain, plain_tokens = subject.score(prompts)
    np.testing.assert_allclose(fast, plain, atol=1e-4)
    assert 0 < tokens < plain_tokens
    shuffled = subject.score(prompts._replace(histories=np.roll(prompts.histories, 1, axis=0)))[0]
    assert np.abs(shuffled - plain).max() > 1  # scores depend on the history, so the equality is no accident


def test_other_causal_models_are_scored_right(model_folder, tmp_path):
    subject = scorer(gpt2(tmp_path, model_folder))
    prompts = draw(5)
    fast = subject.score(prompts)[0]
    subject.check((5, 4))
    assert not subject.plain
    subject.plain = True
    np.testing.assert_allclose(fast, subject.score(prompts)[0], atol=1e-4)


def test_scores_do_not_depend_on_padding_candidates_or_batches(model_folder):
    prompts = draw(9)
    together = scorer(model_folder, batch_size=9).score(prompts)[0]
    alone = scorer(model_folder, batch_size=1)
    for p in range(9):
        for k in range(prompts.candidates.shape[1]):
            one = alone.score(
                Prompts(prompts.histories[p : p + 1], prompts.candidates[p : p + 1, k : k + 1])
            )[0]
            np.testing.assert_allclose(one[0, 0], together[p, k], atol=1e-4)


def test_mean_is_the_sum_over_the_tokens_of_the_title(model_folder):
    prompts = draw(3)
    total, mean = (scorer(model_folder, normalise=way).score(prompts)[0] for way in ("sum", "mean"))
    lengths = scorer(model_folder).tokens.lengths()[prompts.candidates]
    np.testing.assert_allclose(mean * lengths, total, rtol=1e-5)


def test_unconditional_scores_are_those_after_an_empty_history(model_folder):
    subject = scorer(model_folder)
    alone = subject.unconditional()
    items = np.arange(1, len(titles()), dtype=np.int32)
    subject.plain = True
    expected = subject.score(Prompts(np.zeros((len(items), 1), np.int32), items[:, None]))[0][:, 0]
    np.testing.assert_allclose(alone, [0.0, *expected], atol=1e-4)


def test_probabilities_of_all_continuations_sum_to_one(model_folder):
    """Sums the probabilities of all tokens in the vocabulary as the first token of a title."""
    subject = scorer(model_folder)
    size = subject.model.config.vocab_size
    subject.tokens = subject.tokens._replace(  # a catalogue in which each item is one token
        values=np.arange(size), offsets=np.concatenate([[0], np.arange(size + 1)])
    )
    scores = subject.score(Prompts(np.zeros((1, 1), np.int32), np.arange(1, size + 1)[None]))[0]
    np.testing.assert_allclose(np.exp(scores).sum(), 1, rtol=1e-4)


def test_a_model_that_ignores_masks_is_scored_one_by_one(model_folder, monkeypatch):
    from ialp_jax.llm.modes import masks

    monkeypatch.setattr(
        masks,
        "of_layers",
        lambda model, position, segment, past: torch.zeros(1, 1, position.shape[1] - past, 1),
    )
    subject = scorer(model_folder)
    with pytest.warns(UserWarning, match="takes no mask per token"):
        subject.check((5, 4))
    assert subject.plain


def test_bfloat16_is_close(model_folder):
    prompts = draw(4)
    exact, rough = (scorer(model_folder, dtype=d).score(prompts)[0] for d in ("float32", "bfloat16"))
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(exact, rough, rtol=0.05)

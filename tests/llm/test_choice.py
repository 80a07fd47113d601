import numpy as np
import pytest
from chat_templates import MISTRAL
from small_world import prompts as draw
from small_world import titles
from test_letters import ALPHABET, characters

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import embedded  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.modes import choice, prefix  # noqa: E402
from ialp_jax.llm.modes.answers import CAUSES  # noqa: E402
from ialp_jax.llm.prompting import letters, orders, templates  # noqa: E402

TEMPLATE = templates.TEMPLATES["titles"]


def plainly(model, tokenizer, text, names):
    """Log-probabilities of names after a text. Each name has a separate forward pass over the whole text."""
    start = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = []
    for name in names:
        ids = tokenizer(text + name, add_special_tokens=False)["input_ids"]
        shared = next((i for i, (a, b) in enumerate(zip(ids, start, strict=False)) if a != b), len(start))
        with torch.inference_mode():
            logits = model(torch.tensor([[1, *ids]])).logits[0].log_softmax(-1)
        found.append(sum(logits[i, ids[i]].item() for i in range(shared, len(ids))))
    return np.array(found) - np.logaddexp.reduce(found)


@pytest.mark.parametrize(
    "merges",
    [None, [], [(" ", c) for c in letters.LETTERS], [(" ", "B")]],
    ids=["bpe", "one", "joined", "uneven"],
)
def test_scores_equal_those_of_whole_sequences_for_any_tokens_of_the_letters(wide_folder, merges):
    tokenizer = transformers.AutoTokenizer.from_pretrained(wide_folder)
    if merges is not None:
        tokenizer = characters(ALPHABET, *merges)
    model = Scorer(wide_folder, titles(), TEMPLATE, LLMConfig()).model
    blocks = letters.LetteredTokens(tokenizer, titles(), TEMPLATE, None, 4096)
    prompts = draw(5, length=3)
    found, spent = choice.score_lines(model, blocks, prompts, batch_size=2)
    for p in range(5):
        text = letters.render(TEMPLATE, titles(), prompts.histories[p], prompts.candidates[p])
        expected = plainly(model, tokenizer, text, [f" {letter}" for letter in "ABCDE"])
        np.testing.assert_allclose(found[p], expected, atol=2e-3)
    assert spent == blocks.lengths(prompts).sum()
    # The scores depend on the prompt. Otherwise the equality above would prove nothing.
    assert found.std(axis=0).min() > 1e-3


@pytest.mark.parametrize("merges", [(), [(" ", "B")]], ids=["one", "uneven"])
def test_the_common_beginning_of_prompts_is_read_once(wide_folder, merges):
    model = Scorer(wide_folder, titles(), TEMPLATE, LLMConfig()).model
    words = templates.TEMPLATES["list"]
    blocks = letters.LetteredTokens(characters(ALPHABET, *merges), titles(), words, None, 4096)
    prompts = draw(4)
    prompts.histories[0] = 0  # prompt 0 has no history between the beginning and the candidates
    shared = prefix.read(model, blocks.tokens.prefix)
    assert shared.length == len(blocks.tokens.prefix) - 1
    for _ in range(2):  # the cached prefix can be used again
        fast, _ = choice.score_lines(model, blocks, prompts, 2, shared)
    whole, _ = choice.score_lines(model, blocks, prompts, 2)
    np.testing.assert_allclose(fast, whole, atol=1e-4)


def test_scores_have_gradients(wide_folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(wide_folder)
    model = Scorer(wide_folder, titles(), TEMPLATE, LLMConfig()).model
    blocks = letters.LetteredTokens(tokenizer, titles(), TEMPLATE, None, 4096)
    rows = blocks.rows(draw(3))
    scores = choice.letter_scores(model, rows)
    assert scores.shape == (3, 5)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3))
    (-scores[:, 0].sum()).backward()
    gradient = model.model.layers[0].self_attn.q_proj.weight.grad
    assert gradient.abs().max() > 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-4 * parameter.grad
    assert (choice.letter_scores(model, rows)[:, 0].sum() > scores[:, 0].sum()).item()


def test_combined_scores_are_in_the_order_of_the_candidates():
    drawn = np.array([[[2, 0, 1], [1, 2, 0]]])
    lines = np.log([[[0.4, 0.3, 0.2, 0.1], [0.1, 0.5, 0.2, 0.2]]]).astype(np.float32)
    answers = choice.combine(lines, drawn)
    mean = np.array([np.log([0.3, 0.2]).mean(), np.log([0.2, 0.1]).mean(), np.log([0.4, 0.5]).mean()])
    none = np.log([0.1, 0.2]).mean()
    total = np.logaddexp.reduce([*mean, none])
    np.testing.assert_allclose(answers.scores[0], mean - total, rtol=1e-5)
    np.testing.assert_allclose(answers.none, none - total, rtol=1e-5)
    assert answers.choice.tolist() == [3]
    assert answers.places.tolist() == [[1, 2]]


def test_none_and_scores_that_are_not_finite():
    drawn = np.broadcast_to(np.arange(2), (3, 1, 2))
    lines = np.log([[[0.1, 0.2, 0.7]], [[0.5, 0.4, 0.1]], [[0.2, 0.5, 0.3]]]).astype(np.float32)
    lines[2, 0, 1] = np.nan
    answers = choice.combine(lines, drawn)
    assert answers.choice.tolist() == [0, 1, -1]
    assert [CAUSES[c] for c in answers.cause] == ["valid", "valid", "non_finite"]
    assert answers.places.tolist() == [[3], [1], [-1]]


def test_a_bias_of_letters_cancels_over_all_permutations():
    generator = np.random.default_rng(0)
    liking, bias = generator.normal(size=(20, 6)), 3 * generator.normal(size=7)
    for count, right in ((1, False), (6, True)):
        drawn = orders.draw(range(20), 6, count)
        content = np.take_along_axis(np.repeat(liking[:, None], count, 1), drawn, 2)
        lines = np.concatenate([content, np.full((20, count, 1), -9.0)], axis=2) + bias
        lines -= np.logaddexp.reduce(lines, axis=2, keepdims=True)
        answers = choice.combine(lines.astype(np.float32), drawn)
        assert (answers.choice == liking.argmax(1) + 1).all() == right


def scorer(folder, **settings):
    return Scorer(folder, titles(), TEMPLATE, LLMConfig(model=str(folder), mode="choice", **settings))


def test_an_answer_does_not_depend_on_the_batch_or_the_order_of_prompts(wide_folder):
    prompts = draw(7)
    together, _ = scorer(wide_folder, batch_size=3, permutations=2).answer(prompts)
    turned, _ = scorer(wide_folder, batch_size=7, permutations=2).answer(prompts.rows(slice(None, None, -1)))
    assert not together.replies.any()
    for a, b in zip(together[:-1], turned[:-1], strict=True):
        np.testing.assert_allclose(a, b[::-1], atol=1e-4)


def test_the_best_letter_is_the_choice(wide_folder):
    answers, spent = scorer(wide_folder).answer(draw(40))
    everything = np.concatenate([answers.scores, answers.none[:, None]], axis=1)
    np.testing.assert_allclose(np.exp(everything).sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(answers.choice, (everything.argmax(1) + 1) % 5)
    assert len(set(answers.choice.tolist())) > 2
    assert (answers.cause == 0).all()
    assert answers.places.shape == (40, 1)
    assert answers.places.dtype == np.int8
    assert spent > 0


def test_permutations_and_chat_change_the_scores(wide_folder, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(wide_folder)
    subject = scorer(wide_folder)
    once, tokens = subject.answer(draw(5))
    thrice, more = scorer(wide_folder, permutations=3).answer(draw(5))
    assert thrice.places.shape == (5, 3)
    assert more == 3 * tokens
    assert not np.allclose(once.scores, thrice.scores)
    subject.model.save_pretrained(tmp_path)
    tokenizer.chat_template = MISTRAL
    tokenizer.save_pretrained(tmp_path)
    plain, wrapped = (scorer(tmp_path, chat=chat) for chat in ("off", "auto"))
    np.testing.assert_array_equal(plain.answer(draw(5))[0].scores, once.scores)
    assert not np.allclose(wrapped.answer(draw(5))[0].scores, once.scores)
    assert len(wrapped.asker.facts()["wrapper_sha256"]) == 64
    with_wrapper = Scorer(tmp_path, titles(), TEMPLATE, LLMConfig(mode="choice"), ["<s>Hear: ", "!", " "])
    assert tokenizer.decode(with_wrapper.asker.letters.tokens.prefix) == "<s>Hear: "


def test_a_tokenizer_that_joins_pieces_is_reported(wide_folder, monkeypatch):
    # The blocks of a prompt are tokenised with this bullet, but the whole text with another one.
    monkeypatch.setattr(letters, "_BULLET", "\u2013")
    subject = scorer(wide_folder).asker
    monkeypatch.setattr(letters, "_BULLET", "-")
    assert not subject._spells(titles())


def test_too_many_candidates_are_refused_when_asked(wide_folder):
    with pytest.raises(InputError, match="letters name at most 25"):
        scorer(wide_folder).answer(draw(1, candidates=26))
    answers, _ = scorer(wide_folder).answer(draw(2, candidates=25))
    assert answers.scores.shape == (2, 25)


def test_the_embedded_model_answers_by_letter(tmp_path):
    from small_world import dataset, recipe

    embedded.train(tmp_path / "model", dataset(), TEMPLATE, recipe(context=512), seed=0)
    answers, _ = scorer(tmp_path / "model").answer(draw(3))
    assert (answers.choice >= 0).all()

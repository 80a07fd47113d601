import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.modes import generate  # noqa: E402
from ialp_jax.llm.modes.answers import CAUSES, LONGEST_REPLY  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402
from ialp_jax.types import Prompts  # noqa: E402

# The number in a prompt's history identifies the prompt.
PROMPTS = Prompts(np.array([[0], [1]]), np.array([[11, 12, 13], [21, 22, 23]]))
CANDIDATES = PROMPTS.candidates


class Reader:
    """A fake model. ``reply`` answers a prompt at its nth attempt. Records the lists that it was shown."""

    def __init__(self, reply):
        self.reply, self.shown = reply, []

    def __call__(self, prompts):
        texts = []
        for row, items in zip(prompts.histories[:, 0], prompts.candidates, strict=True):
            before = sum(r == row for r, _ in self.shown)
            self.shown.append((row, tuple(items)))
            texts.append(self.reply(row, items.tolist(), before))
        return texts, len(texts)


def ask(reply, permutations=1, retries=0):
    reader = Reader(reply)
    answers, tokens = generate.ask(reader, PROMPTS, [5, 6], permutations, retries, "none of these")
    assert tokens == len(reader.shown)
    return answers, reader


def letter_of(item):
    return lambda row, items, before: "ABC"[items.index(item + 10 * row)]


def test_a_letter_names_the_candidate_on_its_line():
    for item, place in ((11, 1), (12, 2), (13, 3)):
        answers, reader = ask(letter_of(item), permutations=3)
        assert answers.choice.tolist() == [place, place]
        assert answers.scores[:, place - 1].tolist() == [1, 1]
        assert len(set(reader.shown)) == 6
        assert sorted(answers.places[0].tolist()) == [1, 2, 3]


def test_scores_are_shares_and_the_most_named_is_the_choice():
    replies = {0: ["A", "A", "D"], 1: ["D", "D", "Z"]}
    answers, _ = ask(lambda row, items, before: replies[row][before], permutations=3)
    np.testing.assert_allclose(np.sort(answers.scores[0]), [0, 1 / 3, 1 / 3])  # letter A in two rotations
    np.testing.assert_allclose(answers.none, [1 / 3, 2 / 3])
    assert answers.choice[1] == 0
    assert answers.cause.tolist() == [0, 0]
    assert answers.places.tolist() == [[1, 1, 4], [4, 4, -CAUSES.index("out_of_range")]]


def test_the_first_of_equally_often_named_candidates_is_the_choice():
    answers, reader = ask(lambda row, items, before: "A", permutations=3)
    first = [
        CANDIDATES[row].tolist().index(items[0]) + 1 for row, items in (reader.shown[0], reader.shown[3])
    ]
    assert answers.choice.tolist() == first


@pytest.mark.parametrize("cause", ["no_letter", "out_of_range", "several", "empty", "refused"])
def test_every_invalid_answer_is_counted_and_gives_no_label(cause):
    text = {"no_letter": "x1", "out_of_range": "Z", "several": "A or B", "empty": "", "refused": "I cannot"}[
        cause
    ]
    answers, reader = ask(lambda row, items, before: text, retries=2)
    assert answers.choice.tolist() == [-1, -1]
    assert [CAUSES[c] for c in answers.cause] == [cause, cause]
    assert (answers.places == -CAUSES.index(cause)).all()
    assert answers.places.shape == (2, 3)
    assert not answers.scores.any()
    assert len({items for row, items in reader.shown if row == 0}) > 1  # each retry uses another order


def test_replies_are_stored_as_the_model_wrote_them():
    replies = {0: ["x1", "B. " + "long " * 100], 1: ["D"]}
    answers, _ = ask(lambda row, items, before: replies[row][before], retries=1)
    assert answers.replies.shape == answers.places.shape == (2, 2)
    assert answers.replies[0, 0] == "x1"
    assert answers.replies[1].tolist() == ["D", ""]
    assert answers.replies[0, 1].startswith("B. long ")
    assert answers.replies[0, 1].endswith("long ")
    assert len(answers.replies[0, 1]) == LONGEST_REPLY


def test_letters_inside_a_block_of_thinking_are_no_answers():
    prompts_ = PROMPTS, [5, 6], 1, 0, "none"
    replies = ["A, no B", "A</think>B"]
    answers, _ = generate.ask(lambda prompts: (replies, 2), *prompts_, opened=True)
    assert [CAUSES[c] for c in answers.cause] == ["thinking", "valid"]
    answers, _ = generate.ask(lambda prompts: (replies[:1] * 2, 2), *prompts_)
    assert [CAUSES[c] for c in answers.cause] == ["several", "several"]


def test_only_invalid_prompts_are_asked_again():
    replies = {0: ["", "B", "never"], 1: ["D"]}
    answers, reader = ask(lambda row, items, before: replies[row][before], retries=2)
    assert [row for row, _ in reader.shown] == [0, 1, 0]
    assert answers.places.tolist() == [[-CAUSES.index("empty"), 2, 0], [4, 0, 0]]
    named = reader.shown[2][1][1]
    assert answers.choice.tolist() == [CANDIDATES[0].tolist().index(named) + 1, 0]


def test_a_retry_does_not_depend_on_the_batch():
    both, one = Reader(lambda *_: ""), Reader(lambda *_: "")
    generate.ask(both, PROMPTS, [5, 6], 1, 3, "none")
    generate.ask(one, PROMPTS.rows(slice(1, 2)), [6], 1, 3, "none")
    assert [items for row, items in both.shown if row == 1] == [items for _, items in one.shown]


def scorer(folder, **settings):
    config = LLMConfig(model=str(folder), mode="generate", **settings)
    return Scorer(folder, titles(), templates.TEMPLATES["titles"], config)


def test_written_text_is_the_greedy_continuation(wide_folder):
    subject, prompts = scorer(wide_folder), draw(5)
    blocks, model = subject.asker.letters, subject.model
    tokenizer = transformers.AutoTokenizer.from_pretrained(wide_folder)
    texts, spent = generate.write(model, tokenizer, blocks, prompts, max_new_tokens=4, batch_size=2)
    ids, mask = blocks.padded(prompts)
    for p in range(5):
        row = ids[p][mask[p] > 0].tolist()
        with torch.inference_mode():
            for _ in range(4):
                row.append(model(torch.tensor([row])).logits[0, -1].argmax().item())
                if row[-1] == tokenizer.eos_token_id:
                    break
        assert texts[p] == tokenizer.decode(row[mask[p].sum() :], skip_special_tokens=True)
    assert spent > mask.sum()


def test_settings_change_the_answers(wide_folder):
    prompts = draw(30)
    short, tokens = scorer(wide_folder, retries=0, max_new_tokens=1).answer(prompts)
    assert short.places.shape == (30, 1)
    again, more = scorer(wide_folder, retries=4, max_new_tokens=1).answer(prompts)
    assert again.places.shape == (30, 5)
    assert more > tokens
    np.testing.assert_array_equal(again.places[:, :1], short.places)
    num_askings = (again.places != 0).sum(1)
    np.testing.assert_array_equal(num_askings[short.cause == 0], 1)
    long = scorer(wide_folder, retries=0, max_new_tokens=12).answer(prompts)[1]
    assert tokens < long <= tokens + 11 * 30

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

from ialp_jax.llm.prompting import templates
from ialp_jax.llm.prompting.tokens import (
    TitleTokens,
    build_rows,
    common_tokens,
    cut_histories,
    prompt_lengths,
    tokenise,
)
from ialp_jax.types import Prompts

# Items 1, 2, 3 have the tokens [11, 0], [12, 13, 0], [14, 0]. Token 0 ends a line, token 9 begins a text.
TOKENS = TitleTokens(np.array([9]), np.array([11, 0, 12, 13, 0, 14, 0]), np.array([0, 0, 2, 5, 7], np.int64))


def test_rows_by_hand():
    rows = build_rows(TOKENS, Prompts(np.array([[0, 1], [2, 3]]), np.array([[2, 3], [1, 3]])), padding=7)
    assert rows.ids.tolist() == [[9, 11, 0, 12, 13, 14, 7, 7], [9, 12, 13, 0, 14, 0, 11, 14]]
    assert rows.position.tolist() == [[0, 1, 2, 3, 4, 3, 0, 0], [0, 1, 2, 3, 4, 5, 6, 6]]
    assert rows.segment.tolist() == [[0, 0, 0, 1, 1, 2, -1, -1], [0, 0, 0, 0, 0, 0, 1, 2]]
    scored = list(zip(rows.slot.tolist(), rows.source.tolist(), rows.target.tolist(), strict=True))
    assert scored == [
        (0, [0, 2], 12),
        (0, [0, 3], 13),
        (0, [0, 4], 0),
        (1, [0, 2], 14),
        (1, [0, 5], 0),
        (2, [1, 5], 11),
        (2, [1, 6], 0),
        (3, [1, 5], 14),
        (3, [1, 7], 0),
    ]


# Items 1, 2, 3 have the tokens [5, 6, 11, 0], [5, 6, 12, 13, 0], [5, 6, 0]; the first two tokens are common.
BULLETS = TitleTokens(
    np.array([9]),
    np.array([5, 6, 11, 0, 5, 6, 12, 13, 0, 5, 6, 0]),
    np.array([0, 0, 4, 9, 12], np.int64),
    common=2,
)


def test_common_tokens_are_in_a_row_once():
    rows = build_rows(BULLETS, Prompts(np.array([[0, 1], [0, 0]]), np.array([[2, 3], [3, 1]])), padding=7)
    assert rows.ids.tolist() == [[9, 5, 6, 11, 0, 5, 6, 12, 13], [9, 5, 6, 11, 7, 7, 7, 7, 7]]
    assert rows.position.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 0, 0, 0, 0, 0]]
    assert rows.segment.tolist() == [[0] * 7 + [1, 1], [0, 0, 0, 2] + [-1] * 5]
    scored = list(zip(rows.slot.tolist(), rows.source.tolist(), rows.target.tolist(), strict=True))
    assert scored == [
        *((0, [0, 4], 5), (0, [0, 5], 6), (0, [0, 6], 12), (0, [0, 7], 13), (0, [0, 8], 0)),
        *((1, [0, 4], 5), (1, [0, 5], 6), (1, [0, 6], 0)),
        *((2, [1, 0], 5), (2, [1, 1], 6), (2, [1, 2], 0)),
        *((3, [1, 0], 5), (3, [1, 1], 6), (3, [1, 2], 11), (3, [1, 3], 0)),
    ]
    assert [prompt.tolist() for prompt in rows.prompts()] == [[9, 5, 6, 11, 0], [9]]


@pytest.mark.parametrize(
    ("lines", "count"),
    [([[5, 6, 7], [5, 6, 8]], 2), ([[5, 6], [5, 6]], 1), ([[5, 0], [6, 0]], 0), ([[5], [5, 6]], 0), ([], 0)],
)
def test_the_shortest_line_keeps_a_token_of_its_own(lines, count):
    assert common_tokens(lines) == count


def test_only_a_bullet_is_common(model_folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    alike = ("", "Amber Waltz", "Amber Hymn")
    assert tokenise(tokenizer, alike, templates.TEMPLATES["titles"], 4096).common == 0
    assert tokenise(tokenizer, alike, templates.TEMPLATES["list"], 4096).common > 1
    assert tokenise(tokenizer, titles(), templates.TEMPLATES["list"], 4096).common >= 1


@pytest.mark.parametrize("tokens", [TOKENS, BULLETS])
def test_lengths_equal_those_of_the_rows(tokens):
    prompts = Prompts(np.array([[0, 1], [2, 3]]), np.array([[2, 3], [1, 3]]))
    rows = build_rows(tokens, prompts, padding=7)
    assert prompt_lengths(tokens, prompts).tolist() == (rows.segment >= 0).sum(1).tolist()


def test_long_histories_lose_whole_oldest_items():
    prompts = Prompts(np.array([[1, 2, 3], [0, 0, 1]]), np.array([[2], [2]]))
    # Tokens of prompt 0: prefix 1 + candidate 3 + history 2 + 3 + 2 = 11.
    assert cut_histories(TOKENS, prompts, 11).histories.tolist() == prompts.histories.tolist()
    assert cut_histories(TOKENS, prompts, 10).histories.tolist() == [[0, 2, 3], [0, 0, 1]]
    assert cut_histories(TOKENS, prompts, 5).histories.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", ["titles", "list"])
def test_tokens_spell_the_prompt(model_folder, name):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    template = templates.TEMPLATES[name]
    tokens = tokenise(tokenizer, titles(), template, 4096)
    history = draw(1)[0][0]
    ids = np.concatenate([tokens.prefix, *(tokens.of(item) for item in history)])
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == templates.render(template, titles(), history)


def test_special_tokens_in_a_title_are_ordinary_text(model_folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    tokens = tokenise(tokenizer, ("", "</s><s><pad>"), templates.TEMPLATES["titles"], 4096)
    assert not {*tokens.of(1).tolist()} & {*tokenizer.all_special_ids}
    assert tokenizer.decode(tokens.of(1)) == "</s><s><pad>\n"


def test_long_titles_are_cut_and_still_end_their_line(model_folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    tokens = tokenise(tokenizer, ("", "qz" * 50), templates.TEMPLATES["titles"], 40)
    assert tokens.lengths().tolist() == [0, 10]
    assert tokenizer.decode(tokens.of(1)).endswith("\n")


def test_tokenizers_that_mark_the_start_of_a_text_see_lines_as_in_the_prompt():
    """The tokenizers of Llama and of the first Mistral put a mark before a text. They encode a line end as a
    byte token.
    """
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    letters = sorted({*"".join(titles())} - {" "})
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", "\u2581", "<0x0A>", "<unk>", *letters])}
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>")
    )
    inner.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>"
    )
    tokens = tokenise(tokenizer, titles(), templates.TEMPLATES["titles"], 4096)
    text = templates.render(templates.TEMPLATES["titles"], titles(), [5, 6])
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert whole[0] == vocabulary["\u2581"]
    assert [*tokens.of(5), *tokens.of(6)] == whole[1:]

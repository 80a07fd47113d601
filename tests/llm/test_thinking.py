"""Tests models that think before they answer. Only text after the thinking counts as the answer."""

from __future__ import annotations

import pytest
from chat_templates import CHATML, MISTRAL, OPENING, SWITCHED
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.llm.modes.grammar import parse
from ialp_jax.llm.prompting import chat, thinking

NONE = "none of these"


class Tokenizer:
    """Renders a chat template as transformers does."""

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, turns, tokenize, **options):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(self.chat_template)
        return template.render(messages=turns, bos_token="<s>", eos_token="</s>", **options)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("<think>\nA or B? Rather A.\n</think>\n\nB", 2),
        ("<THINKING>A</THINKING> B", 2),
        ("[THINK]A[/THINK]B", 2),
        ("◁think▷A◁/think▷B", 2),
        ("<think>A</think><think>C</think>B", 2),
        ("<|channel|>analysis<|message|>A, C<|channel|>final<|message|>B", 2),
        ("<reasoning>x</reasoning>none of these", 4),
        ("I think B", 2),
    ],
)
def test_the_answer_comes_after_the_thinking(text, place):
    assert parse(text, 3, NONE) == (place, "valid")


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("<think>\nB", False),
        ("B", True),
        ("", True),
        ("A</think>B<think>", False),
        ("<think></think><think>", True),
    ],
)
def test_thinking_that_does_not_end_is_no_answer(text, opened):
    assert parse(text, 3, NONE, opened) == (0, "thinking")


def test_the_reply_closes_a_block_that_the_prompt_opened():
    assert parse("surely A\n</think>\nB", 3, NONE, opened=True) == (2, "valid")
    assert parse("<think>A</think>", 3, NONE) == (0, "empty")


@given(st.text("AB<>/think \n", max_size=30), st.sampled_from("ABC"))
def test_nothing_inside_a_block_is_an_answer(thought, letter):
    text = f"<think>{thought}</think>\n{letter}"
    assert parse(text, 3, NONE) == ("ABC".index(letter) + 1, "valid")


def test_thinking_is_switched_off_if_the_template_can():
    before, after, lead = chat.find(Tokenizer(SWITCHED), "auto", "model")
    assert (before, lead) == ("<|im_start|>user\n", "")
    assert after == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert chat.thinking_of(chat.Wrapper(before, after, lead)) == chat.OFF


@pytest.mark.parametrize(
    ("template", "state"), [(OPENING, chat.OPEN), (MISTRAL, ""), (CHATML, ""), (SWITCHED, chat.OFF)]
)
def test_the_effect_of_a_template_on_thinking_is_recognised(template, state):
    template = template.replace("raise_exception('roles are user and assistant')", "''")
    assert chat.thinking_of(chat.find(Tokenizer(template), "on", "model")) == state
    assert chat.thinking_of(None) == ""


def test_templates_without_a_switch_give_unchanged_prompts():
    assert chat.find(Tokenizer(CHATML), "auto", "model") == (
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "",
    )


class Added:
    """A fake tokenizer. Token 2 ends a text. Tokens 3 and 4 are thinking tags, and may be special tokens."""

    def __init__(self, special):
        from types import SimpleNamespace

        self.words = {1: "A", 2: "</s>", 3: "[THINK]", 4: "[/THINK]", 5: "B"}
        hidden = {2, 3, 4} if special else {2}
        self.added_tokens_decoder = {
            i: SimpleNamespace(content=self.words[i], special=i in hidden) for i in (2, 3, 4)
        }

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        added = self.added_tokens_decoder
        return "".join(self.words[i] for i in ids if not (i in added and added[i].special))

    def batch_decode(self, rows, skip_special_tokens):
        return [self.decode(row, skip_special_tokens) for row in rows]


@pytest.mark.parametrize("special", [True, False])
def test_tags_are_kept_even_if_they_are_special_tokens(special):
    """Without tags, letters inside the thinking would be read as the answer."""
    decode = thinking.Decoder(Added(special))
    assert decode([[3, 1, 4, 5, 2], [5], []]) == ["[THINK]A[/THINK]B", "B", ""]

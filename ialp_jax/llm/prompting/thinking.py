"""Blocks of thinking before an answer, such as ``<think> ... </think>``. Pure Python.

If an answer has such a block, only the letter after the block counts. Some chat templates let the caller
switch thinking off. Some templates open a block at the beginning of the answer. With other templates, the
model decides whether it thinks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Arguments of chat templates that switch thinking off. A template ignores unknown arguments.
OFF = {"enable_thinking": False, "thinking": False}
_NAME = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis)"
_TAG = re.compile(
    rf"<(?P<a>/?)(?i:{_NAME})>|\[(?P<b>/?)THINK\]|◁(?P<c>/?)think▷|"
    r"<\|channel\|>(?:(?P<d>final)|analysis|commentary)(?:<\|message\|>)?"
)
_PARTS = ("<|channel|>", "<|message|>")  # special tokens of the last pattern in `_TAG`


def _tags(text: str) -> Iterable[tuple[int, bool]]:
    """Yields the end position of each thinking tag in a text, and whether the tag closes a block."""
    for tag in _TAG.finditer(text):
        yield tag.end(), any(tag.groupdict().values())


def has_tag(text: str) -> bool:
    """Whether a text contains a tag that opens or closes a block of thinking."""
    return _TAG.search(text) is not None


def left_open(text: str) -> bool:
    """Whether the last thinking tag of a text opens a block."""
    return not [True, *(closes for _, closes in _tags(text))][-1]


def answer_of(text: str, opened: bool = False) -> str | None:
    """The text that a model writes after its thinking; None if the model was still thinking at the end.

    Args:
      text: what the model wrote.
      opened: whether the prompt ended inside a block of thinking.

    Returns:
      The text after the last block, or the whole text if there is no block.
    """
    end, closed = 0, not opened
    for place, closes in _tags(text):
        if closes:
            end = place
        closed = closes
    return text[end:] if closed else None


def _kept(token: str) -> bool:
    return token in _PARTS or _TAG.fullmatch(token) is not None


class Decoder:
    """Turns token ids into text. Drops special tokens except thinking tags, after which the answer begins."""

    def __init__(self, tokenizer: Any) -> None:
        """Finds the tags among the special tokens of a Hugging Face tokenizer."""
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._tags = {i: t.content for i, t in added.items() if t.special and _kept(t.content)}

    def __call__(self, rows: Iterable[list[int]]) -> list[str]:
        """Decodes rows of token ids to texts."""
        rows = list(rows)
        if not self._tags:
            return self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [self._with_tags(row) for row in rows]

    def _with_tags(self, row: list[int]) -> str:
        parts, start = [], 0
        for place, token in enumerate([*row, None]):
            if token is None or token in self._tags:
                parts.append(self._tokenizer.decode(row[start:place], skip_special_tokens=True))
                parts.append(self._tags.get(token, ""))
                start = place + 1
        return "".join(parts)

"""Titles as token ids, and token rows of many prompts. numpy only.

Each title is tokenised once, on its own line, and a prompt is a concatenation of lines. So new prompts need
no tokenisation, and a candidate always has the same tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ialp_jax.llm.prompting.templates import LINE_END, Template
from ialp_jax.types import Prompts

PADDING = -1


class TitleTokens(NamedTuple):
    """Token ids of all lines, ragged: item i has ``values[offsets[i]:offsets[i + 1]]``; item 0 has no tokens.

    Attributes:
      prefix: int64, the begin-of-sequence token and the introduction: all tokens before the first line.
      values: int64, tokens of all lines, each with its line end.
      offsets: int64 [N + 2].
      common: number of tokens with which every line begins, for example its bullet. A row holds them once
        for all its candidates. Every line has more tokens.
    """

    prefix: np.ndarray
    values: np.ndarray
    offsets: np.ndarray
    common: int = 0

    def of(self, item: int) -> np.ndarray:
        """Tokens of one item's line, int64."""
        return self.values[self.offsets[item] : self.offsets[item + 1]]

    def lengths(self) -> np.ndarray:
        """Number of tokens of each item's line, int64 [N + 1]; 0 for padding."""
        return np.diff(self.offsets)


class Rows(NamedTuple):
    """Token rows of B prompts: prefix, history and common tokens once, then the K candidates side by side.

    A candidate's tokens attend to the history and to the candidate's earlier tokens, but to no other
    candidate. So the keys and values of the history are computed once for all K candidates. The same is
    true for the common tokens, with which all candidates begin; they belong to the history here. The last
    token of a candidate is only predicted, not read. So a candidate with n tokens fills n - 1 - common
    columns.

    Attributes:
      ids: int64 [B, S], tokens; any value at padding.
      position: int64 [B, S], positions, counted as if each candidate directly followed the history.
      segment: int32 [B, S], 0 for the history, k for candidate k (1..K), -1 for padding.
      source: int64 [Q, 2], row and column whose output predicts a scored token.
      target: int64 [Q], the scored token.
      slot: int64 [Q], row * K + k - 1, index of the score to which the token's log-probability is added.
      common: number of common tokens at the end of each history.
    """

    ids: np.ndarray
    position: np.ndarray
    segment: np.ndarray
    source: np.ndarray
    target: np.ndarray
    slot: np.ndarray
    common: int = 0

    def prompts(self) -> list[np.ndarray]:
        """Tokens of each of the B prompts, without its candidates and their common tokens, int64 [n]."""
        return [
            ids[segment == 0][: -self.common or None]
            for ids, segment in zip(self.ids, self.segment, strict=True)
        ]


def after(
    encode: Callable[[list[str]], list[list[int]]], before: str, texts: Sequence[str]
) -> list[list[int]]:
    """Token ids of each of ``texts`` when it follows the text ``before``.

    If the tokenizer merges the end of ``before`` with the beginning of a text, that text is tokenised
    separately.
    """
    start = encode([before])[0]
    whole = encode([before + text for text in texts]) if texts else []
    return [
        ids[len(start) :] if ids[: len(start)] == start else encode([text])[0]
        for ids, text in zip(whole, texts, strict=True)
    ]


def tokenise(tokenizer: Any, titles: Sequence[str], template: Template, limit: int) -> TitleTokens:
    """Tokenises N titles (``titles[0]`` is padding) with a Hugging Face tokenizer.

    Special tokens written in a title are ordinary text. A line is tokenised after a line end, as in the
    prompt, because some tokenizers treat the start of a text differently.

    Args:
      tokenizer: a fast tokenizer.
      titles: N + 1 strings.
      template: makes the line of each title.
      limit: maximum number of tokens of a prompt. A line with more than a quarter of this number is cut.
    """

    def encode(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    end = encode([LINE_END])[0][-1]
    lines = [[], *after(encode, LINE_END, [template.line(title) for title in titles[1:]])]
    lines = [ids if len(ids) <= limit // 4 else [*ids[: limit // 4 - 1], end] for ids in lines]
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    introduction = encode([template.introduction])[0] if template.introduction else []
    prefix = (begin + introduction) or [end]  # the first token needs a predecessor
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
    return TitleTokens(
        np.array(prefix, np.int64),
        np.fromiter((token for line in lines for token in line), np.int64, offsets[-1]),
        offsets,
        common_tokens(lines[1:]) if template.bullet else 0,
    )


def common_tokens(lines: Sequence[Sequence[int]]) -> int:
    """Number of tokens with which all lines begin, less than the tokens of the shortest line."""
    columns = zip(*(line[:-1] for line in lines), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, columns))


def cut_histories(tokens: TitleTokens, prompts: Prompts, limit: int) -> Prompts:
    """Removes the oldest liked items of prompts that would exceed ``limit`` tokens."""
    lengths = tokens.lengths()
    room = limit - len(tokens.prefix) - lengths[prompts.candidates].max(axis=1, initial=0)
    from_right = np.cumsum(lengths[prompts.histories][:, ::-1], axis=1)[:, ::-1]
    return prompts._replace(histories=np.where(from_right <= room[:, None], prompts.histories, 0))


def prompt_lengths(tokens: TitleTokens, prompts: Prompts) -> np.ndarray:
    """Number of tokens of each of P rows in a forward pass, int64 [P]."""
    lengths = tokens.lengths()
    shared = len(tokens.prefix) + lengths[prompts.histories].sum(1) + tokens.common
    return shared + np.maximum(lengths[prompts.candidates] - 1 - tokens.common, 0).sum(1)


def _spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For groups of ``counts`` [C] elements, returns each element's group and place in it, int64 [sum]."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def build_rows(tokens: TitleTokens, prompts: Prompts, padding: int) -> Rows:
    """Rows of B prompts.

    Args:
      tokens: title tokens of the catalogue.
      prompts: B prompts.
      padding: token id for positions after the end of a row.
    """
    histories, candidates = prompts.histories, prompts.candidates
    lengths, first, common = tokens.lengths(), tokens.offsets[:-1], tokens.common
    num_rows, num_candidates = candidates.shape
    before = len(tokens.prefix) + lengths[histories].sum(1)  # tokens before the candidates
    # Blocks of a row in order: the lines of the history, the common tokens, then the candidates without
    # their common tokens and their last tokens. Item 1 provides the common tokens.
    middle = np.full((num_rows, 1), min(1, common))
    items = np.concatenate([histories, middle, candidates], axis=1)
    inside = histories.shape[1] + 1  # number of the first candidate's block
    skipped = np.where(np.arange(items.shape[1]) < inside, 0, common)
    counts = lengths[items]
    counts[:, inside - 1] = common
    counts[:, inside:] -= 1 + common
    starts = len(tokens.prefix) + np.cumsum(counts, axis=1) - counts
    width = int((len(tokens.prefix) + counts.sum(1)).max())
    ids = np.full((num_rows, width), padding, np.int64)
    position = np.zeros((num_rows, width), np.int64)
    segment = np.full((num_rows, width), PADDING, np.int32)
    ids[:, : len(tokens.prefix)] = tokens.prefix
    position[:, : len(tokens.prefix)] = np.arange(len(tokens.prefix))
    segment[:, : len(tokens.prefix)] = 0
    block, place = _spread(counts.ravel())
    row, kind = np.divmod(block, items.shape[1])
    column = starts.ravel()[block] + place
    number = np.maximum(kind - inside + 1, 0)  # 0: history and common tokens; 1..K: a candidate
    ids[row, column] = tokens.values[first[items].ravel()[block] + skipped[kind] + place]
    position[row, column] = np.where(number == 0, column, before[row] + common + place)
    segment[row, column] = number
    # Scored tokens: the end of the history predicts the first token of a candidate, and each common token
    # predicts the next token. The candidate's block predicts the other tokens.
    slot, place = _spread(lengths[candidates].ravel())
    row = slot // num_candidates
    in_block = starts[:, inside:].ravel()[slot] + place - common - 1
    column = np.where(place <= common, before[row] + place - 1, in_block)
    target = tokens.values[first[candidates].ravel()[slot] + place]
    return Rows(ids, position, segment, np.stack([row, column], axis=1), target, slot, common)

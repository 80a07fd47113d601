"""Training text of the embedded model: histories packed into rows with little padding. numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.llm.config import EmbeddedConfig
from ialp_jax.llm.prompting.tokens import TitleTokens
from ialp_jax.types import Dataset

IGNORED = -100  # target of positions without a loss, as in torch's cross-entropy


class Corpus(NamedTuple):
    """Rows of packed histories.

    Attributes:
      ids: int64 [R, S].
      position: int64 [R, S]; place within the segment. Positions restart at 0 in each segment, so that the
        model can separate the segments.
      target: int64 [R, S], the next token of the same segment, or IGNORED.
    """

    ids: np.ndarray
    position: np.ndarray
    target: np.ndarray


def pack(tokens: TitleTokens, histories: Iterable[np.ndarray], context: int, padding: int) -> Corpus:
    """Packs histories, each int [l] of item ids, into rows of ``context`` tokens.

    A row holds whole lines. If the next line does not fit, the user's history continues in the next row, as a
    new segment. Like a prompt, each segment begins with the prefix. So in every row except the last, the
    padding is shorter than the prefix and one line.
    """
    segments: list[tuple[int, int, list[np.ndarray]]] = []  # row, first column, blocks
    prefix, lengths = tokens.prefix, tokens.lengths()
    row, used = 0, 0
    for history in histories:
        fresh = True
        for item in history:
            if used + lengths[item] + (len(prefix) if fresh else 0) > context:
                row, used, fresh = row + 1, 0, True
            if fresh:
                segments.append((row, used, [prefix]))
                used, fresh = used + len(prefix), False
            segments[-1][2].append(tokens.of(item))
            used += lengths[item]
    ids = np.full((row + 1, context), padding, np.int64)
    position = np.zeros((row + 1, context), np.int64)
    target = np.full((row + 1, context), IGNORED, np.int64)
    for row, start, blocks in segments:
        text = np.concatenate(blocks)
        place = slice(start, start + len(text))
        ids[row, place] = text
        position[row, place] = np.arange(len(text))
        target[row, start + len(prefix) - 1 : start + len(text) - 1] = text[len(prefix) :]
    return Corpus(ids, position, target)


def epoch(
    tokens: TitleTokens,
    dataset: Dataset,
    users: np.ndarray,
    config: EmbeddedConfig,
    padding: int,
    *,
    seed: int,
    index: int,
) -> Corpus:
    """The ``index``-th pass over the users' histories, with users and rows in random order.

    If the data set has no order in time, the items of every history are shuffled. If it has one, each history
    is shuffled with probability ``config.shuffle``. Each item is left out with probability ``config.drop``.
    Without shuffling and left-out items, a model that sees few users many times would memorise their
    histories.
    """
    generator = keys.generator(seed, "llm-epoch", index)
    histories = [dataset.histories.of(user) for user in generator.permutation(users)]
    if config.drop:
        histories = [history[generator.random(len(history)) >= config.drop] for history in histories]
    if not dataset.interactions.ordered:
        histories = [generator.permutation(history) for history in histories]
    elif config.shuffle:
        chosen = generator.random(len(histories)) < config.shuffle
        histories = [generator.permutation(h) if c else h for h, c in zip(histories, chosen, strict=True)]
    corpus = pack(tokens, histories, config.context, padding)
    order = generator.permutation(len(corpus.ids))
    return Corpus(corpus.ids[order], corpus.position[order], corpus.target[order])

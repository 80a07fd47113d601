"""The mode ``choice``: one forward pass scores the letters as the next token of the prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ialp_jax.llm.modes import plain
from ialp_jax.llm.modes.answers import CAUSES, Answers
from ialp_jax.llm.modes.likelihood import collected, title_scores
from ialp_jax.llm.modes.prefix import NOTHING, Prefix
from ialp_jax.llm.prompting.letters import LetteredTokens
from ialp_jax.llm.prompting.tokens import Rows
from ialp_jax.types import Prompts


def letter_scores(model: Any, rows: Rows, prefix: Prefix = NOTHING) -> torch.Tensor:
    """Log-probabilities of the K + 1 lines of B prompts, in one forward pass; differentiable.

    log p(line l | prompt, a line is named) = log-softmax over l of sum_j log p(token_j | prompt, token_<j),
    where j runs over the tokens that name line l. Usually one token names a line. The logits of the prompt's
    last position are then enough, and the model reads only the prompt.

    Args:
      model: a causal language model; the caller chooses train or eval mode, and with or without gradients.
      rows: B prompts with the K + 1 names of the lines as candidates, "none" last.
      prefix: cached common beginning of all rows, or `NOTHING`. The prefix gets no gradient.

    Returns:
      float32 [B, K + 1], in order of the lines, on the model's device.
    """
    num_lines = (int(rows.slot[-1]) + 1) // len(rows.ids)
    return torch.log_softmax(title_scores(model, rows, num_lines, prefix), dim=-1)


@torch.inference_mode()
def score_lines(
    model: Any,
    letters: LetteredTokens,
    prompts: Prompts,
    batch_size: int,
    prefix: Prefix | None = NOTHING,
) -> tuple[np.ndarray, int]:
    """Scores the lines of P prompts in batches of similar length. If ``prefix`` is None, uses `plain`.

    Args:
      model: a causal language model.
      letters: makes the token rows of the prompts.
      prompts: P prompts, candidates in the order of the lines.
      batch_size: prompts per forward pass.
      prefix: cached ``letters.tokens.prefix``, or None.

    Returns:
      Log-probabilities float32 [P, K + 1], and the number of tokens read.

    Raises:
      InputError: too many or too long candidates.
    """
    prompts = letters.cut(prompts)
    lengths = letters.lengths(prompts)
    order = np.argsort(-lengths, kind="stable")  # longest first, to run out of memory early
    num_lines = prompts.candidates.shape[1] + 1
    spent, parts = 0 if prefix is None else int(lengths.sum()), []
    for start in range(0, len(order), batch_size):
        rows = letters.rows(prompts.rows(order[start : start + batch_size]))
        if prefix is None:
            parts.append(torch.log_softmax(plain.title_scores(model, rows, num_lines), dim=-1))
            spent += plain.tokens_spent(rows, num_lines)
        else:
            parts.append(letter_scores(model, rows, prefix))
    return collected(parts, order, num_lines), spent


def combine(by_line: np.ndarray, orders: np.ndarray) -> Answers:
    """Combines the scores of the lines, under several orders of the candidates, into answers.

    Log-probabilities are averaged over orders and normalised again. If the orders are all K rotations, each
    candidate has each letter once, so the model's preference for a letter cancels. "none" always has the same
    letter.

    Args:
      by_line: float32 [P, R, K + 1].
      orders: int [P, R, K], see `ialp_jax.llm.prompting.orders.draw`.
    """
    last = np.full((*orders.shape[:2], 1), orders.shape[2])
    by_candidate = np.empty_like(by_line)
    np.put_along_axis(by_candidate, np.concatenate([orders, last], axis=2), by_line, axis=2)
    mean = by_candidate.mean(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        scores = (mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)).astype(np.float32)
    finite = np.isfinite(scores).all(axis=1)
    best = np.where(finite[:, None], scores, 0).argmax(axis=1) + 1
    failed = CAUSES.index("non_finite")
    clear = np.isfinite(by_line).all(axis=2)
    places = np.where(clear, np.where(clear[..., None], by_line, 0).argmax(axis=2) + 1, -failed)
    return Answers.of(
        choice=np.where(finite, best % scores.shape[1], -1).astype(np.int32),  # "none", K + 1, becomes 0
        scores=scores[:, :-1],
        none=scores[:, -1],
        cause=np.where(finite, 0, failed).astype(np.uint8),
        places=places.astype(np.int8),
    )

"""The answer by letter from one forward pass: what follows a lettered prompt, restricted to its letters."""

from __future__ import annotations

from typing import Any

import torch

from ialp_jax.llm.scoring import title_scores
from ialp_jax.llm.tokens import Rows


def letter_scores(model: Any, rows: Rows) -> torch.Tensor:
    """Log-probabilities of the K + 1 lines of B prompts, in one forward pass; differentiable.

    log p(line l | prompt, some line is named) = log-softmax over l of sum_j log p(token_j | prompt, token_<j),
    over the tokens that name line l. Where each line is named by one token, as is usual, these are the
    logits of the last position alone, and nothing is fed after the prompt.

    Args:
      model: a causal language model; its own mode (train, eval, with or without gradients) holds.
      rows: B prompts whose candidates are the K + 1 names of the lines, "none" the last one.

    Returns:
      float32 [B, K + 1], in the order of the lines, on the model's device.
    """
    num_lines = (int(rows.slot[-1]) + 1) // len(rows.ids)
    return torch.log_softmax(title_scores(model, rows, num_lines), dim=-1)

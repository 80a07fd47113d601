"""Slow, exact scores: one whole sequence per candidate, through the model's own forward pass. Needs torch.

These passes use no mask, cache or padding of ours. Their scores are the reference for the fast method.
Models with which the fast method does not work are scored in this way, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ialp_jax.llm.prompting.tokens import Rows


def sequences(rows: Rows, num_candidates: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yields, for each of B prompts, its tokens int64 [n] and the tokens of its K candidates."""
    names = np.split(rows.target, np.flatnonzero(np.diff(rows.slot)) + 1)
    for b, prompt in enumerate(rows.prompts()):
        yield prompt, names[b * num_candidates : (b + 1) * num_candidates]


def predictions(model: Any, ids: np.ndarray, last: int) -> torch.Tensor:
    """Log-probabilities of the next token after each of the last tokens of ``ids`` int64 [n].

    Returns:
      float32 [last, V], where ``last`` is the number of these tokens.
    """
    fewer = (
        {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    )
    sequence = torch.from_numpy(ids).to(model.device)[None]
    logits = model(input_ids=sequence, use_cache=False, **fewer).logits[0]
    return torch.log_softmax(logits[-last:].float(), dim=-1)


@torch.inference_mode()
def title_scores(model: Any, rows: Rows, num_candidates: int) -> torch.Tensor:
    """Scores like `likelihood.title_scores`, without gradients: float32 [B, K]."""
    scores = torch.zeros((len(rows.ids), num_candidates), device=model.device)
    for b, (prompt, names) in enumerate(sequences(rows, num_candidates)):
        if max(map(len, names)) == 1:  # one pass scores all one-token names
            scores[b] = predictions(model, prompt, 1)[0, np.concatenate(names)]
            continue
        for k, name in enumerate(names):
            before = np.concatenate([prompt, name[:-1]])
            predicted = predictions(model, before, len(name))
            scores[b, k] = predicted[torch.arange(len(name)), torch.from_numpy(name)].sum()
    return scores


def tokens_spent(rows: Rows, num_candidates: int) -> int:
    """Number of tokens that `title_scores` sends through the model."""
    return sum(
        len(prompt) if max(map(len, names)) == 1 else sum(len(prompt) + len(name) - 1 for name in names)
        for prompt, names in sequences(rows, num_candidates)
    )

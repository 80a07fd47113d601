"""The mode ``likelihood``: log-likelihood of titles after a history, for any causal language model.

log p(title | history) = sum_j log p(token_j | history, token_<j), over the tokens of the candidate's line,
including its line end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ialp_jax.llm.modes import head, masks, plain
from ialp_jax.llm.modes.moving import to_device
from ialp_jax.llm.modes.prefix import NOTHING, Prefix
from ialp_jax.llm.prompting import tokens as rows_of
from ialp_jax.llm.prompting.tokens import Rows, TitleTokens
from ialp_jax.types import Prompts


def title_scores(model: Any, rows: Rows, num_candidates: int, prefix: Prefix = NOTHING) -> torch.Tensor:
    """Summed log-probabilities of the candidates of B rows, in one pass of the decoder; differentiable.

    Args:
      model: a causal language model; the caller chooses train or eval mode, and with or without gradients.
      rows: B prompts, each with the tokens of its K candidates.
      num_candidates: K.
      prefix: cached common beginning of all rows, or `NOTHING`. The prefix gets no gradient.

    Returns:
      float32 [B, K], on the model's device.

    Raises:
      CannotPackError: a candidate has several tokens, but the model does not accept a separate mask
        for each token.
    """
    device, width = model.device, rows.ids.shape[1] - prefix.length
    ids = to_device(rows.ids[:, prefix.length :], device)
    hidden = head.decoder_of(model)(input_ids=ids, **_view(model, rows, prefix)).last_hidden_state
    # The decoder's output at the end of a history predicts the first token of every candidate, so the head
    # runs on this output only once.
    flat = rows.source[:, 0] * width + rows.source[:, 1] - prefix.length
    flat, which = np.unique(flat, return_inverse=True)
    predicting = hidden.flatten(0, 1)[to_device(flat, device)]
    gained = head.log_probabilities(model, predicting, which.ravel(), rows.target)
    return (
        torch.zeros(len(rows.ids) * num_candidates, device=device)
        .index_add(0, to_device(rows.slot, device), gained)
        .view(-1, num_candidates)
    )


def _view(model: Any, rows: Rows, prefix: Prefix) -> dict[str, Any]:
    """Arguments that tell a model which tokens each token may attend to.

    Returns no mask if each row holds only a history, with padding at its end. In this case, the model's own
    masks, windows and positions are right, because no token of the history attends to the padding.
    """
    arguments: dict[str, Any] = {"use_cache": False}
    if prefix.length:
        arguments = {prefix.argument: prefix.of(len(rows.ids)), "use_cache": True}
    if (rows.segment <= 0).all():
        return arguments
    mask = masks.of_layers(model, rows.position, rows.segment, prefix.length)
    position = to_device(rows.position[:, prefix.length :], model.device)
    return arguments | {"attention_mask": mask, "position_ids": position}


def by_length(tokens: TitleTokens, prompts: Prompts, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices that sort P prompts by length, int64 [P], and their lengths in tokens, int64 [P].

    Prompts are cut to ``limit`` tokens. The longest prompts come first, so that a lack of memory causes an
    early error.
    """
    lengths = rows_of.prompt_lengths(tokens, rows_of.cut_histories(tokens, prompts, limit))
    return np.argsort(-lengths, kind="stable"), lengths


@torch.inference_mode()
def score(
    model: Any,
    tokens: TitleTokens,
    prompts: Prompts,
    *,
    padding: int,
    limit: int,
    batch_size: int,
    prefix: Prefix | None = NOTHING,
) -> tuple[np.ndarray, int]:
    """Scores P prompts in batches of similar length. If ``prefix`` is None, uses `plain`.

    Returns:
      Summed log-probabilities float32 [P, K], and the number of tokens read.
    """
    prompts, num_candidates = rows_of.cut_histories(tokens, prompts, limit), prompts.candidates.shape[1]
    order, lengths = by_length(tokens, prompts, limit)
    spent, parts = 0 if prefix is None else int(lengths.sum()), []
    for start in range(0, len(order), batch_size):
        rows = rows_of.build_rows(tokens, prompts.rows(order[start : start + batch_size]), padding)
        if prefix is None:
            parts.append(plain.title_scores(model, rows, num_candidates))
            spent += plain.tokens_spent(rows, num_candidates)
        else:
            parts.append(title_scores(model, rows, num_candidates, prefix))
    return collected(parts, order, num_candidates), spent


def collected(parts: list[torch.Tensor], order: np.ndarray, num_columns: int) -> np.ndarray:
    """Scores of batches, float32 [P, columns], in the order of the prompts.

    A GPU is read only here, so that it gets the next batches while it works on earlier ones.

    Args:
      parts: scores of each batch, float32 [B, columns].
      order: int64 [P], the prompts of all batches in sequence.
      num_columns: number of columns, if there is no batch.
    """
    scores = np.empty((len(order), num_columns), np.float32)
    if parts:
        scores[order] = torch.cat(parts).cpu().numpy()
    return scores

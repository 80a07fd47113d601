"""The mode ``likelihood``: log-likelihood of titles after a history, for any causal language model.

log p(title | history) = sum_j log p(token_j | history, token_<j), over the tokens of the candidate's line,
including its line end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ialp_jax.llm.modes import head, masks, plain
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
    source, target, slot = (
        torch.from_numpy(array).to(device) for array in (rows.source, rows.target, rows.slot)
    )
    hidden = head.decoder_of(model)(
        input_ids=torch.from_numpy(rows.ids[:, prefix.length :]).to(device), **_view(model, rows, prefix)
    ).last_hidden_state
    # The decoder's output at the end of a history predicts the first token of every candidate, so the head
    # runs on this output only once.
    flat = source[:, 0] * width + source[:, 1] - prefix.length
    flat, which = torch.unique(flat, return_inverse=True)
    gained = head.log_probabilities(model, hidden.flatten(0, 1)[flat], which, target)
    return (
        torch.zeros(len(rows.ids) * num_candidates, device=device)
        .index_add(0, slot, gained)
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
    position, segment = (torch.from_numpy(array).to(model.device) for array in (rows.position, rows.segment))
    arguments["attention_mask"] = masks.of_layers(model.config, position, segment, model.dtype, prefix.length)
    return arguments | {"position_ids": position[:, prefix.length :]}


@torch.inference_mode()
def score_rows(model: Any, rows: Rows, num_candidates: int, prefix: Prefix | None = NOTHING) -> np.ndarray:
    """`title_scores` without gradients, as float32 [B, K] in NumPy. If ``prefix`` is None, uses `plain`."""
    if prefix is None:
        return plain.title_scores(model, rows, num_candidates).cpu().numpy()
    return title_scores(model, rows, num_candidates, prefix).cpu().numpy()


def by_length(tokens: TitleTokens, prompts: Prompts, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices that sort P prompts by length, int64 [P], and their lengths in tokens, int64 [P].

    Prompts are cut to ``limit`` tokens. The longest prompts come first, so that a lack of memory causes an
    early error.
    """
    lengths = rows_of.prompt_lengths(tokens, rows_of.cut_histories(tokens, prompts, limit))
    return np.argsort(-lengths, kind="stable"), lengths


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
    scores = np.empty(prompts.candidates.shape, np.float32)
    spent = 0 if prefix is None else int(lengths.sum())
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        rows = rows_of.build_rows(tokens, prompts.rows(part), padding)
        scores[part] = score_rows(model, rows, num_candidates, prefix)
        spent += plain.tokens_spent(rows, num_candidates) if prefix is None else 0
    return scores, spent

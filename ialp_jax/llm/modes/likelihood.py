"""Log-likelihood of candidate titles after a history, through any causal language model.

log p(title | history) = sum_j log p(token_j | history, token_<j), over the tokens of the candidate's line,
its line end included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ialp_jax.llm.modes.prefix import NOTHING, Prefix, cache_argument
from ialp_jax.llm.prompting import tokens as rows_of
from ialp_jax.llm.prompting.tokens import Rows, TitleTokens


def attention_mask(position: torch.Tensor, segment: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [B, 1, S, S]: a token sees the history and its own candidate, up to itself.

    Args:
      position: int64 [B, S].
      segment: int32 [B, S], 0 history, 1..K candidates, -1 padding.
      dtype: of the model's activations.
    """
    same = segment[:, :, None] == segment[:, None, :]
    seen = (same | (segment[:, None, :] == 0)) & (position[:, :, None] >= position[:, None, :])
    mask = torch.zeros(seen.shape, dtype=dtype, device=position.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def title_scores(model: Any, rows: Rows, num_candidates: int, prefix: Prefix = NOTHING) -> torch.Tensor:
    """Summed log-probabilities of the candidates of B rows, in one forward pass; differentiable.

    Args:
      model: a causal language model; its own mode (train, eval, with or without gradients) holds.
      rows: B prompts, each with the tokens of its K candidates.
      num_candidates: K.
      prefix: what all rows begin with, where it was read before; not differentiated.

    Returns:
      float32 [B, K], on the model's device.
    """
    device, width = model.device, rows.ids.shape[1] - prefix.length
    source, target, slot = (
        torch.from_numpy(array).to(device) for array in (rows.source, rows.target, rows.slot)
    )
    decoder = model.get_decoder()
    hidden = decoder(
        input_ids=torch.from_numpy(rows.ids[:, prefix.length :]).to(device),
        **_view(rows, prefix, device, model.dtype, cache_argument(decoder)),
    ).last_hidden_state
    # All candidates of a prompt share the output that predicts their first tokens: the head runs once on it.
    flat = source[:, 0] * width + source[:, 1] - prefix.length
    flat, which = torch.unique(flat, return_inverse=True)
    logits = model.get_output_embeddings()(hidden.flatten(0, 1)[flat]).float()
    gained = logits[which, target] - torch.logsumexp(logits, dim=-1)[which]
    return (
        torch.zeros(len(rows.ids) * num_candidates, device=device)
        .index_add(0, slot, gained)
        .view(-1, num_candidates)
    )


def _view(rows: Rows, prefix: Prefix, device: torch.device, dtype: torch.dtype, cache: str) -> dict[str, Any]:
    """What a model must be told of who sees whom: nothing where padding at the end is all there is."""
    plain = (rows.segment <= 0).all()
    if plain and not prefix.length:
        return {"use_cache": False}
    if plain:  # one mask for all rows
        width = rows.ids.shape[1]
        position = torch.arange(width, device=device)[None]
        mask = attention_mask(position, torch.zeros_like(position), dtype)
    else:
        position, segment = (torch.from_numpy(array).to(device) for array in (rows.position, rows.segment))
        mask = attention_mask(position, segment, dtype)
    past = {cache: prefix.of(len(rows.ids)), "use_cache": True} if prefix.length else {"use_cache": False}
    return {
        "attention_mask": mask[:, :, prefix.length :],
        "position_ids": position[:, prefix.length :],
        **past,
    }


@torch.inference_mode()
def score_rows(model: Any, rows: Rows, num_candidates: int, prefix: Prefix = NOTHING) -> np.ndarray:
    """`title_scores` without gradients, on the host: float32 [B, K]."""
    return title_scores(model, rows, num_candidates, prefix).cpu().numpy()


def by_length(
    tokens: TitleTokens, histories: np.ndarray, candidates: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """The order int64 [P] in which prompts fill batches, and their lengths in tokens, int64 [P].

    Histories [P, L] are cut to ``limit`` tokens. Longest first: a lack of memory shows at once.
    """
    histories = rows_of.cut_histories(tokens, histories, candidates, limit)
    lengths = rows_of.prompt_lengths(tokens, histories, candidates)
    return np.argsort(-lengths, kind="stable"), lengths


def score(
    model: Any,
    tokens: TitleTokens,
    histories: np.ndarray,
    candidates: np.ndarray,
    *,
    padding: int,
    limit: int,
    batch_size: int,
    prefix: Prefix = NOTHING,
) -> tuple[np.ndarray, int]:
    """Scores P prompts in batches of similar length.

    Returns:
      Summed log-probabilities float32 [P, K], and the tokens that went through the model.
    """
    histories = rows_of.cut_histories(tokens, histories, candidates, limit)
    order, lengths = by_length(tokens, histories, candidates, limit)
    scores = np.empty(candidates.shape, np.float32)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        rows = rows_of.build_rows(tokens, histories[part], candidates[part], padding)
        scores[part] = score_rows(model, rows, candidates.shape[1], prefix)
    return scores, int(lengths.sum())


@torch.inference_mode()
def score_plainly(
    model: Any,
    tokens: TitleTokens,
    histories: np.ndarray,
    candidates: np.ndarray,
    *,
    padding: int,
    limit: int,
    batch_size: int,
) -> tuple[np.ndarray, int]:
    """The same as `score`, by one whole sequence per candidate, one at a time: slow, and plainly right."""
    del padding, batch_size  # there is neither
    histories = rows_of.cut_histories(tokens, histories, candidates, limit)
    scores, spent = np.zeros(candidates.shape, np.float32), 0
    for p, k in np.ndindex(*candidates.shape):
        before = np.concatenate([tokens.prefix, *(tokens.of(item) for item in histories[p])])
        title = tokens.of(candidates[p, k])
        sequence = torch.from_numpy(np.concatenate([before, title])).to(model.device)
        logits = model(input_ids=sequence[None], use_cache=False).logits[0].float()
        predicted = torch.log_softmax(logits[len(before) - 1 : -1], dim=-1)
        scores[p, k] = predicted.gather(1, sequence[len(before) :, None]).sum().item()
        spent += len(sequence)
    return scores, spent

"""Attention masks of packed rows, in which the candidates of a prompt share its history. Needs torch.

In some models, layers with a sliding window or chunks limit the tokens to which a token attends. Our mask
replaces the model's own mask, so it must keep these limits. The limits refer to positions, not to columns of
the row. The positions of each candidate directly follow those of the history, even if the row has other
candidates between them.
"""

from __future__ import annotations

from typing import Any

import torch

# Names of layer types in transformers.
FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
LIMITS = {SLIDING: "sliding_window", CHUNKED: "attention_chunk_size"}  # the setting that holds the limit


class CannotPackError(ValueError):
    """Raised if some layers of a model do not accept a separate attention mask for each token."""


def kinds_of(config: Any) -> dict[str, int]:
    """Kinds of attention in a model's layers, each with its limit in tokens (0: no limit).

    Args:
      config: transformers configuration of the model.

    Raises:
      CannotPackError: some layers are of another kind, for example recurrent.
    """
    text = config.get_text_config(decoder=True)
    limits = {FULL: 0} | {kind: getattr(text, name, None) or 0 for kind, name in LIMITS.items()}
    kinds = set(getattr(text, "layer_types", None) or ())
    if not kinds:  # all layers have the same kind
        kinds = {next((kind for kind in LIMITS if limits[kind]), FULL)}
    unknown = sorted(kinds - limits.keys())
    if unknown:
        raise CannotPackError(f"layers of type {', '.join(unknown)} take no mask per token")
    return {kind: limits[kind] for kind in sorted(kinds)}


def of_layers(
    config: Any, position: torch.Tensor, segment: torch.Tensor, dtype: torch.dtype, past: int = 0
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive masks [B, 1, S - past, S]: causal, and a token attends to no candidate except its own.

    Args:
      config: transformers configuration of the model.
      position: int64 [B, S].
      segment: int32 [B, S], 0 history, 1..K candidates, -1 padding.
      dtype: dtype of the model's activations.
      past: number of columns at the beginning of the rows that are already cached.

    Returns:
      One mask, or one mask per kind of layer if the kinds have different limits.

    Raises:
      CannotPackError: see `kinds_of`.
    """
    kinds, longest = kinds_of(config), int(position.max()) + 1
    asking, asked = position[:, past:, None], position[:, None, :]
    same = segment[:, past:, None] == segment[:, None, :]
    visible = (same | (segment[:, None, :] == 0)) & (asking >= asked)
    near = {
        SLIDING: lambda limit: asked > asking - limit,
        CHUNKED: lambda limit: asked // limit == asking // limit,
    }
    masks = {kind: near[kind](limit) & visible for kind, limit in kinds.items() if 0 < limit < longest}
    if masks and len(kinds) > 1:
        return {kind: _additive(masks.get(kind, visible), dtype) for kind in kinds}
    return _additive(masks.popitem()[1] if masks else visible, dtype)


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Turns bool [B, ...] into [B, 1, ...]: 0 for visible tokens, else the most negative number."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]

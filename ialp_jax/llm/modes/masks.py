"""Attention masks of packed rows, in which the candidates of a prompt share its history. Needs torch.

In some models, layers with a sliding window or chunks limit the tokens to which a token attends. Our mask
replaces the model's own mask, so it must keep these limits. The limits refer to positions, not to columns of
the row. The positions of each candidate directly follow those of the history, even if the row has other
candidates between them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ialp_jax.llm.modes.moving import to_device

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
    model: Any, position: np.ndarray, segment: np.ndarray, past: int = 0
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Masks [B, 1, S - past, S]: causal, and a token attends to no candidate except its own.

    For torch's attention (sdpa), the masks are bool. They need a quarter of the memory of float32, and every
    kernel that accepts a mask accepts them. Other attention code adds the mask to its scores.

    Args:
      model: a causal language model of transformers.
      position: int64 [B, S].
      segment: int32 [B, S], 0 history, 1..K candidates, -1 padding.
      past: number of columns at the beginning of the rows that are already cached.

    Returns:
      One mask, or one mask per kind of layer if the kinds have different limits.

    Raises:
      CannotPackError: see `kinds_of`.
    """
    kinds, longest = kinds_of(model.config), int(position.max()) + 1
    at, of = to_device(position, model.device), to_device(segment, model.device)
    asking, asked = at[:, past:, None], at[:, None, :]
    same = of[:, past:, None] == of[:, None, :]
    visible = (same | (of[:, None, :] == 0)) & (asking >= asked)
    near = {
        SLIDING: lambda limit: asked > asking - limit,
        CHUNKED: lambda limit: asked // limit == asking // limit,
    }
    masks = {kind: near[kind](limit) & visible for kind, limit in kinds.items() if 0 < limit < longest}
    if masks and len(kinds) > 1:
        return {kind: _accepted(masks.get(kind, visible), model) for kind in kinds}
    return _accepted(masks.popitem()[1] if masks else visible, model)


def _accepted(visible: torch.Tensor, model: Any) -> torch.Tensor:
    """Turns bool [B, ...] into a mask [B, 1, ...] that the model's attention code accepts."""
    if getattr(model.config, "_attn_implementation", "") == "sdpa":
        return visible[:, None]
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(model.dtype).min)[:, None]

"""Log-probabilities of tokens from a decoder's output, through the model's own head. Needs torch.

Some models scale, cap or shift the output of their last layer (Cohere, Granite, Gemma 2, ...). So we compute
the logits with the model's own forward pass. In this pass, the decoder computes nothing; it returns its
stored output for the selected positions. Because vocabularies are large, logits are computed in chunks, which
limits the memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch.utils.checkpoint import checkpoint

CHUNK = 2**25  # Maximum number of logits in memory, except if one row is longer. 134 MB in float32.


@dataclasses.dataclass
class _Read(transformers.utils.ModelOutput):
    """A decoder's output with only hidden states [1, Q, D]."""

    last_hidden_state: torch.Tensor | None = None

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)
        return None


def decoder_of(model: Any) -> Any:
    """The part of a causal language model that computes hidden states: all layers and the last norm.

    Raises:
      AttributeError: the model has no such part besides its head.
    """
    decoder = model.get_decoder()
    if decoder is model.get_output_embeddings():
        return model.base_model  # ModernBERT returns its head.
    return model.model if decoder is model else decoder  # Llama 4 returns itself.


@contextlib.contextmanager
def _decoded(model: Any, hidden: torch.Tensor) -> Iterator[None]:
    """Inside this context, the model's decoder returns ``hidden`` [1, Q, D] without any computation."""
    inner = {id(module): module for module in (model.base_model, decoder_of(model)) if module is not model}
    before = {key: vars(module).get("forward") for key, module in inner.items()}
    for module in inner.values():
        module.forward = lambda *args, **options: _Read(last_hidden_state=hidden)
    try:
        yield
    finally:
        for key, module in inner.items():
            del module.forward
            if before[key] is not None:
                module.forward = before[key]


def logits_of(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The model's own logits float32 [Q, V] for its decoder's output [Q, D]."""
    unread = torch.zeros((1, len(hidden)), dtype=torch.long, device=hidden.device)
    with _decoded(model, hidden[None]):
        return model(input_ids=unread, use_cache=False).logits[0].float()


def rows_at_once(vocabulary: int) -> int:
    """Number of rows of logits that are computed together."""
    return max(1, CHUNK // vocabulary)


def log_probabilities(
    model: Any, hidden: torch.Tensor, which: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities of Q tokens, float32 [Q]; differentiable.

    Args:
      model: a causal language model.
      hidden: [H, D], the decoder's output at the positions that predict a scored token.
      which: int64 [Q], the row of ``hidden`` that predicts each token.
      target: int64 [Q], the tokens.
    """

    def gained(part: torch.Tensor, row: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        logits = logits_of(model, part)
        return logits[row, token] - torch.logsumexp(logits, dim=-1)[row]

    size = rows_at_once(model.config.get_text_config().vocab_size)
    if len(hidden) <= size:
        return gained(hidden, which, target)
    parts, places = [], []
    for start in range(0, len(hidden), size):
        place = torch.nonzero((which >= start) & (which < start + size))[:, 0]
        given = hidden[start : start + size], which[place] - start, target[place]
        # With gradients, each chunk's logits are not stored; the backward pass computes them again.
        again = torch.is_grad_enabled()
        parts.append(checkpoint(gained, *given, use_reentrant=False) if again else gained(*given))
        places.append(place)
    return torch.cat(parts)[torch.argsort(torch.cat(places))]

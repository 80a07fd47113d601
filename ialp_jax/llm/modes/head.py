"""Log-probabilities of tokens from a decoder's output, through the model's own head. Needs torch.

Some models scale, cap or shift the output of their last layer (Cohere, Granite, Gemma 2, ...). So we compute
the logits with the model's own forward pass. In this pass, the decoder computes nothing; it returns its
stored output for the selected positions. Because vocabularies are large, logits are computed in chunks, which
limits the memory. Their sums need float32; the copies in float32 exist only for a small block at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from torch.utils.checkpoint import checkpoint

from ialp_jax.llm.modes.moving import to_device

CHUNK = 2**25  # Maximum number of logits in memory (134 MB in float32); one row may be longer.
BLOCK = 2**20  # Maximum number of logits that are copied to float32 at once; one row may be longer.
ON_GPU = 4  # Chunks are this many times larger on a GPU, because each one costs some kernel launches.


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
    """The model's own logits [Q, V] for its decoder's output [Q, D], in the dtype of the model's head."""
    unread = torch.zeros((1, len(hidden)), dtype=torch.long, device=hidden.device)
    with _decoded(model, hidden[None]):
        return model(input_ids=unread, use_cache=False).logits[0]


def rows_at_once(vocabulary: int, device: str = "cpu") -> int:
    """Number of rows of logits that are computed together."""
    return max(1, CHUNK * (ON_GPU if device.startswith("cuda") else 1) // vocabulary)


def rows_in_float32(vocabulary: int, device: str = "cpu") -> int:
    """Number of rows of logits that have copies in float32 at the same time."""
    if device.startswith("cuda"):
        return max(1, rows_at_once(vocabulary, device) // ON_GPU)
    return max(1, min(CHUNK, BLOCK) // vocabulary)


def _normalisers(logits: torch.Tensor) -> torch.Tensor:
    """log-sum-exp of each row of ``logits`` [Q, V], float32 [Q]."""
    size = rows_in_float32(logits.shape[1], logits.device.type)
    return torch.cat([torch.logsumexp(block.float(), dim=-1) for block in logits.split(size)])


def log_probabilities(
    model: Any, hidden: torch.Tensor, which: np.ndarray, target: np.ndarray
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
        return logits[row, token].float() - _normalisers(logits)[row]

    device, order = hidden.device, np.argsort(which, kind="stable")
    size = rows_at_once(model.config.get_text_config().vocab_size, device.type)
    starts = range(0, len(hidden), size)
    bounds = np.searchsorted(which[order], [*starts, len(hidden)])
    parts = []
    for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True):
        place = order[first:last]
        row, token = to_device(which[place] - start, device), to_device(target[place], device)
        given = hidden[start : start + size], row, token
        # With gradients, each chunk's logits are not stored; the backward pass computes them again.
        again = torch.is_grad_enabled() and len(starts) > 1
        parts.append(checkpoint(gained, *given, use_reentrant=False) if again else gained(*given))
    return torch.cat(parts)[to_device(np.argsort(order, kind="stable"), device)]

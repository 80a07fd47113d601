"""What all prompts begin with, read once: its keys and values serve every batch. torch."""

from __future__ import annotations

import copy
import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from ialp_jax.llm.modes.head import decoder_of


class Prefix(NamedTuple):
    """The first tokens of every row, already read.

    Attributes:
      length: how many.
      cache: their keys and values, of one row.
      argument: how the decoder calls the cache that it reads and extends.
    """

    length: int
    cache: transformers.DynamicCache | None
    argument: str

    def of(self, batch_size: int) -> transformers.DynamicCache:
        """The cache of that many rows, which a forward pass may extend."""
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(batch_size)
        return cache


NOTHING = Prefix(0, None, "")


@torch.inference_mode()
def read(model: Any, ids: np.ndarray) -> Prefix:
    """Reads the tokens int64 [n] that all prompts begin with.

    The last of them is left to the rows: what it predicts may be scored.
    """
    if len(ids) < 2:
        return NOTHING
    cache = transformers.DynamicCache()
    shared = torch.from_numpy(ids[None, :-1]).to(model.device)
    decoder = decoder_of(model)
    argument = cache_argument(decoder)
    decoder(input_ids=shared, use_cache=True, **{argument: cache})
    return Prefix(len(ids) - 1, cache, argument)


def cache_argument(decoder: Any) -> str:
    """How ``decoder`` calls the cache that it reads and extends: Transformers renamed it in 5.24."""
    named = inspect.signature(decoder.forward).parameters
    return "cache" if "cache" in named else "past_key_values"

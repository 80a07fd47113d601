"""The common beginning of all prompts, read once; every batch reuses its keys and values. Needs torch."""

from __future__ import annotations

import copy
import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from ialp_jax.llm.modes.head import decoder_of


class Prefix(NamedTuple):
    """The first tokens of every row, already read by the model.

    Attributes:
      length: number of tokens.
      cache: keys and values of these tokens, for one row.
      argument: name of the decoder's argument that takes the cache.
    """

    length: int
    cache: transformers.DynamicCache | None
    argument: str

    def of(self, batch_size: int) -> transformers.DynamicCache:
        """A copy of the cache for ``batch_size`` rows; a forward pass may extend the copy."""
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(batch_size)
        return cache


NOTHING = Prefix(0, None, "")


@torch.inference_mode()
def read(model: Any, ids: np.ndarray) -> Prefix:
    """Runs the model on the tokens int64 [n] with which all prompts begin, and caches keys and values.

    The last token is not cached, because its prediction may be scored.
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
    """Name of the decoder's argument that takes the cache; transformers renamed the argument in 5.24."""
    named = inspect.signature(decoder.forward).parameters
    return "cache" if "cache" in named else "past_key_values"

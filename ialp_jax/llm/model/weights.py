"""Checks of a loaded model: it uses exactly the stored weights, and it is causal. Needs torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from ialp_jax.errors import InputError

# Stored tensors that we ignore: buffers of older formats, parts for images, sound and draft tokens.
IDLE = re.compile(
    r"(^|\.)(rotary_emb\.inv_freq|position_ids|masked_bias|(attn|attention)\.bias)$|"
    r"(^|\.)(vision_\w+|visual|image_\w+|audio_\w+|embed_vision|embed_audio|multi_modal_projector|mtp\w*)(\.|$)"
)
CAUSAL_TRIAL = 6  # Number of tokens in the test of causality.
SAME = {torch.float32: (1e-3, 1e-3), torch.bfloat16: (0.05, 0.5)}  # Tolerances (rtol, atol).


def attention_of(config: Any) -> str:
    """The attention implementation for a configuration: ``sdpa`` if it is exact, else ``eager``."""
    model = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)  # sdpa cannot cap
    return "eager" if capped or not getattr(model, "_supports_sdpa", False) else "sdpa"


def check_report(folder: Path, report: dict[str, Any]) -> None:
    """Raises InputError if weights are missing, or if stored weights would not be used.

    Args:
      folder: folder of the model.
      report: loading information of transformers.
    """
    if report["missing_keys"]:
        raise InputError(f"{folder}: weights are missing, {min(report['missing_keys'])} among them")
    unused = sorted(name for name in report["unexpected_keys"] if not IDLE.search(name))
    if unused:
        raise InputError(
            f"{folder}: the model of its config.json does not use all stored weights, {unused[0]} among "
            f"{len(unused)}; give the config.json that belongs to the weights"
        )


@torch.inference_mode()
def check_causal(folder: Path, model: Any) -> None:
    """Raises InputError if an output depends on later tokens, as in an encoder."""
    size = model.config.get_text_config().vocab_size
    ids = torch.arange(CAUSAL_TRIAL, device=model.device)[None] % size
    whole = model(input_ids=ids, use_cache=False).logits[:, : CAUSAL_TRIAL // 2]
    begun = model(input_ids=ids[:, : CAUSAL_TRIAL // 2], use_cache=False).logits
    if not same(whole.log_softmax(-1), begun.log_softmax(-1), model.dtype):
        raise InputError(
            f"{folder}: not a causal language model, the outputs of {type(model).__name__} depend on later "
            "tokens"
        )


def same(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether log-probabilities of the same text are equal up to rounding in the model's dtype."""
    rtol, atol = SAME[dtype]
    return torch.allclose(one.float().cpu(), other.float().cpu(), rtol=rtol, atol=atol, equal_nan=True)


def keep_to_scores(model: Any) -> None:
    """Switches off model settings that would change free text or return more outputs than logits.

    Penalties and samplers in generation_config.json would change free-text answers. Returned router logits,
    attentions and hidden states would cost memory.
    """
    for name in ("output_router_logits", "output_attentions", "output_hidden_states"):
        if getattr(model.config, name, False):
            setattr(model.config, name, False)
    generation = model.generation_config
    ends = {name: getattr(generation, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = transformers.GenerationConfig(**ends)


def check_tokens(folder: Path, tokenizer: Any, model: Any, *ids: np.ndarray) -> None:
    """Raises InputError if prompts contain a token for which the model has no embedding.

    Args:
      folder: folder of tokenizer and model.
      tokenizer, model: loaded from that folder.
      ids: token ids of prompts, int64 [n] each.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max((int(part.max()) for part in ids if len(part)), default=0)
    if highest >= rows:
        raise InputError(
            f"{folder}: its tokenizer writes token {highest} ({tokenizer.convert_ids_to_tokens(highest)!r}), "
            f"the model has embeddings for {rows} tokens; use the tokenizer that belongs to the model"
        )

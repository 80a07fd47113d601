"""Loads a causal language model and its tokenizer from a folder. Needs torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm import model_files
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import weights

MAX_TOKENS = 4096  # Longest prompt. Equals the sliding window of Mistral 7B v0.1; L items fit.
# Errors that from_pretrained raises if files are missing, broken or of another kind.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    RuntimeError,
    ImportError,
    ArithmeticError,
    safetensors.SafetensorError,
    StrictDataclassError,
)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the error's name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def read_config(folder: Path) -> Any:
    """The transformers configuration in a folder. Raises InputError if it is not readable."""
    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"{folder}: not a readable causal language model ({first_line(error)})") from None


def load_tokenizer(folder: Path, pad_token: str) -> Any:
    """The tokenizer of a folder, with a padding token.

    Raises:
      InputError: the tokenizer is unreadable, has no padding token, or does not know ``pad_token``.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"{folder}: its tokenizer cannot be read ({first_line(error)})") from None
    if pad_token:
        if pad_token not in tokenizer.get_vocab():
            raise InputError(f"--config.llm.pad_token={pad_token}: not in the vocabulary of {folder}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token is None:
        proposal = tokenizer.eos_token or tokenizer.unk_token or "one of its tokens"
        raise InputError(f"{folder}: its tokenizer has no pad token; set --config.llm.pad_token={proposal}")
    _check_padding(folder, tokenizer, pad_token)
    return tokenizer


def _check_padding(folder: Path, tokenizer: Any, pad_token: str) -> None:
    """Raises InputError if config.json shows that the model has no embedding for the pad token."""
    settings = store.read_json(folder / "config.json") or {}
    size = (settings.get("text_config") or settings).get("vocab_size")
    if not isinstance(size, int) or tokenizer.pad_token_id < size:
        return
    beyond = f"the model has embeddings for {size} tokens"
    if pad_token:
        token = f"token {tokenizer.pad_token_id} of {folder}"
        raise InputError(f"--config.llm.pad_token={pad_token}: {token}, {beyond}; choose another")
    proposal = tokenizer.eos_token or tokenizer.unk_token or "one of its tokens"
    raise InputError(
        f"{folder}: its pad token {tokenizer.pad_token!r} is token {tokenizer.pad_token_id}, {beyond}; set "
        f"--config.llm.pad_token={proposal}"
    )


def context_of(config: Any) -> int:
    """The longest prompt, in tokens, for a model with this transformers configuration.

    Rotary positions of the types ``longrope`` and ``dynamic`` change if a batch has a text above a certain
    length. For models with these types, the longest prompt has that length, so that no prompt changes the
    scores of other prompts.
    """
    text = config.get_text_config(decoder=True)
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len")]
    rotary = getattr(text, "rope_parameters", None) or {}
    if rotary.get("rope_type") in ("longrope", "dynamic"):
        limits.append(rotary.get("original_max_position_embeddings"))
        limits.append(getattr(text, "original_max_position_embeddings", None))
    return min([MAX_TOKENS, *(limit for limit in limits if limit)])


def place(device: str, dtype: str) -> tuple[str, str]:
    """The device and dtype that the settings select. Raises InputError if there is no such device.

    Args:
      device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
      dtype: ``auto`` (bfloat16 on a GPU, float32 elsewhere), ``float32`` or ``bfloat16``. On a CPU, labels
        replace ``auto`` before, see `ialp_jax.llm.worker.precision`.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--config.llm.device={device}: torch sees no GPU; use auto or cpu")
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    return device, dtype


def of_dtype(config: LLMConfig, dtype: str) -> LLMConfig:
    """The settings with another dtype."""
    return dataclasses.replace(config, dtype=dtype)


def load_model(folder: Path, device: str, dtype: str) -> Any:
    """Loads the model of a folder, only from safetensors. No code in the folder is run.

    Args:
      folder: in the Hugging Face format.
      device, dtype: see `place`.

    Raises:
      InputError: the model is unreadable or not causal, weights are missing or unused, or the device is
        missing.
    """
    device, dtype = place(device, dtype)
    model_files.check_no_adapter(folder)
    settings = read_config(folder)
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=weights.attention_of(settings),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        weights.check_report(folder, report)
        weights.keep_to_scores(model)
        model = model.to(device).eval()
        weights.check_causal(folder, model)
    except torch.OutOfMemoryError:
        raise InputError(f"{folder}: the model does not fit into the memory of {device}") from None
    except UNREADABLE as error:
        raise InputError(f"{folder}: not a readable causal language model ({first_line(error)})") from None
    return model

"""Estimates whether a model and a batch fit into the free memory, before the model is loaded. Needs torch.

The sizes come only from the model's configuration: transformers builds the model on torch's meta device. Its
tensors have shapes, but use no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
import transformers

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import loading, weights
from ialp_jax.llm.modes import head
from ialp_jax.llm.prompting import lengths
from ialp_jax.llm.prompting.lengths import Lengths
from ialp_jax.llm.prompting.templates import Template

GB = 1e9


class Sizes(NamedTuple):
    """Sizes of a causal language model.

    Attributes:
      parameters: number of all parameters; tied ones count once.
      body: parameters without the input embedding (looked up, not multiplied) and without the output layer.
      head: parameters of the output layer, even if it is tied to the embedding.
      layers: number of decoder layers.
      attention: number of heads times the width of a head.
      key_value: number of key-value heads times the width of a head.
      hidden: width D.
      intermediate: width of the feed-forward part.
      vocabulary: number of tokens.
      context: longest sequence.
      compared: number of heads whose scores for all pairs of tokens are in memory at the same time. 0 if
        the attention code computes the scores in blocks.
    """

    parameters: int
    body: int
    head: int
    layers: int
    attention: int
    key_value: int
    hidden: int
    intermediate: int
    vocabulary: int
    context: int
    compared: int = 0


class Need(NamedTuple):
    """Memory in bytes.

    Attributes:
      weights: memory of the model's weights.
      batch: mask, activations, logits and key-value cache of one batch, without the weights.
    """

    weights: int
    batch: int

    @property
    def total(self) -> int:
        """Both."""
        return self.weights + self.batch


def sizes_of(config: Any) -> Sizes:
    """Sizes of a transformers configuration of a causal language model."""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    total = sum(parameter.numel() for parameter in model.parameters())  # counts a tied parameter once
    outer = (model.get_input_embeddings(), model.get_output_embeddings())
    ends = {id(layer.weight): layer.weight.numel() for layer in outer}
    text = config.get_text_config(decoder=True)  # The text part, if the model also reads images.
    heads = getattr(text, "num_attention_heads", None) or 0  # No heads if there is no attention.
    width = getattr(text, "head_dim", None) or text.hidden_size // max(1, heads)
    return Sizes(
        parameters=total,
        body=total - sum(ends.values()),
        head=model.get_output_embeddings().weight.numel(),
        layers=text.num_hidden_layers,
        attention=heads * width,
        key_value=(getattr(text, "num_key_value_heads", None) or heads) * width,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocabulary=text.vocab_size,
        context=loading.context_of(config),
        compared=heads if weights.attention_of(config) == "eager" else 0,
    )


def read_sizes(folder: Path) -> Sizes:
    """Sizes of the model in a folder; reads only config.json. Raises InputError if it is not readable."""
    settings = loading.read_config(folder)
    try:
        return sizes_of(settings)
    except loading.UNREADABLE as error:
        first = loading.first_line(error)
        raise InputError(f"{folder}: not a readable causal language model ({first})") from None


def forward_flops(sizes: Sizes, tokens: float, pairs: float, scored: float) -> float:
    """Number of operations of forward passes.

    Args:
      sizes: sizes of the model.
      tokens: number of tokens in all rows.
      pairs: number of token pairs in attention: the sum of the squared row lengths.
      scored: number of rows of logits.
    """
    return 2 * sizes.body * tokens + 4 * sizes.layers * sizes.attention * pairs + 2 * sizes.head * scored


def batch_bytes(sizes: Sizes, measured: Lengths, batch_size: int, element: int, device: str = "cpu") -> int:
    """Upper estimate of the memory of one batch of the longest prompts, in bytes.

    Args:
      sizes: sizes of the model.
      measured: lengths of some prompts.
      batch_size: rows of the batch.
      element: bytes per number.
      device: device of the model; logits are computed in larger chunks on a GPU.
    """
    longest = int(measured.prompt.max()) + measured.written
    mask = longest**2 * (element + 4)  # The mask, and temporary arrays to compute it.
    mask += longest**2 * sizes.compared * (2 * element + 4)  # Scores and attention weights.
    layer = longest * element * (4 * sizes.hidden + 4 * sizes.attention + 3 * sizes.intermediate)
    # Logits in the model's dtype, and two copies of some of them in float32.
    logits = batch_size * sizes.vocabulary * (element + 8)
    if not measured.written:
        rows = batch_size * int(measured.scored.max())
        copied = min(rows, head.rows_in_float32(sizes.vocabulary, device))
        logits = min(rows, head.rows_at_once(sizes.vocabulary, device)) * sizes.vocabulary * element
        logits += copied * sizes.vocabulary * 8
    cache = 2 * sizes.layers * sizes.key_value * longest * element if measured.written else 0
    return batch_size * (mask + cache) + max(batch_size * layer, logits)


def need(sizes: Sizes, measured: Lengths | None, batch_size: int, dtype: str, device: str = "cpu") -> Need:
    """Memory for the weights and one batch of the measured prompts; no batch if ``measured`` is None."""
    element = getattr(torch, dtype).itemsize
    if measured is None:
        return Need(sizes.parameters * element, 0)
    return Need(sizes.parameters * element, batch_bytes(sizes, measured, batch_size, element, device))


def available(device: str) -> int:
    """Free bytes of a GPU or of main memory."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def verdict(needed: Need, free: int, device: str, dtype: str, config: LLMConfig) -> str:
    """If the model does not fit, returns a message with the figures and a remedy, else an empty text.

    On one machine, each of ``config.workers`` processes needs the memory. Ray's workers count their own.
    """
    copies = max(1, config.workers) if config.engine == "transformers" else 1
    if copies * needed.total <= free:
        return ""
    changes = ["--config.llm.dtype=bfloat16"] if dtype == "float32" else []
    if needed.batch and config.batch_size > 1:
        changes.append(f"--config.llm.batch_size under {config.batch_size}")
    if copies > 1:
        changes.append(f"--config.llm.workers under {copies}")
    changes.append("--config.llm.device with more memory, or a smaller model")
    where = "of the GPU" if device.startswith("cuda") else "of memory"
    batch = f" and {needed.batch / GB:.1f} GB for a batch of {config.batch_size}" if needed.batch else ""
    each = f" for each of {copies} workers" if copies > 1 else ""
    return (
        f"it needs {copies * needed.total / GB:.1f} GB ({needed.weights / GB:.1f} GB of weights in "
        f"{dtype}{batch}{each}), "
        f"and {free / GB:.1f} GB {where} are free; try {', or '.join(changes)}"
    )


def require(
    folder: Path,
    titles: Sequence[str],
    template: Template,
    config: LLMConfig,
    shape: tuple[int, int] | None,
) -> None:
    """Raises InputError if a model does not fit into the memory; call this before the model is loaded.

    Args:
      folder: folder of the model.
      titles: N + 1 titles; ``titles[0]`` is padding.
      template: the text around titles.
      config: settings; ``workers`` counts the processes on this machine.
      shape: L and K of the prompts that follow; if None, only the weights are compared with the free memory.

    Raises:
      InputError: the model does not fit (the message has figures), or its configuration or tokenizer cannot
        be read.
    """
    device, dtype = loading.place(config.device, config.dtype)
    sizes = read_sizes(folder)
    measured = None
    if shape is not None and len(titles) > 1:
        tokenizer = loading.load_tokenizer(folder, config.pad_token)
        ruler = lengths.Ruler(tokenizer, folder, titles, template, config, sizes.context)
        measured = ruler.measure(lengths.sample_prompts(len(titles) - 1, shape))
    needed = need(sizes, measured, config.batch_size, dtype, device)
    refusal = verdict(needed, available(device), device, dtype, config)
    if refusal:
        raise InputError(f"{folder}: the model does not fit: {refusal}")

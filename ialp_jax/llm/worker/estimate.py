"""Estimates the costs of labelling in advance: tokens, operations, memory, hours. Needs torch.

Chowdhery et al. 2022 (arXiv 2204.02311, appendix B) count the operations of training. A forward pass needs a
third of these operations: 2 per parameter and token, and for attention 4 * layers * (heads * width) per pair
of tokens. The input embedding costs no FLOPs, and the head runs only on scored rows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import embedded, loading, memory, scorer, speed
from ialp_jax.llm.model.memory import Sizes
from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.prompting import templates
from ialp_jax.llm.prompting.lengths import (
    CHARACTERS_PER_TOKEN,
    NUM_HELD_OUT,
    Demand,
    Guess,
    Lengths,
    Ruler,
    sample_of,
)
from ialp_jax.types import Dataset, Prompts

UTILISATION = 0.5  # Assumed speed of forward passes, as a share of the measured matrix-product speed.
TRAINING = 3  # Operations of a training step divided by those of a forward pass (arXiv 2204.02311).
LORA = 2  # This ratio is lower for LoRA, because frozen weights need no weight gradients.


class Part(NamedTuple):
    """A part of the work.

    Attributes:
      name: name of the part.
      prompts: number of prompts.
      tokens: number of tokens that the model reads.
      flops: floating-point operations.
    """

    name: str
    prompts: int
    tokens: int
    flops: float

    def plus(self, other: Part) -> Part:
        """Adds another part; the sum has the name of this part."""
        sums = (self.prompts + other.prompts, self.tokens + other.tokens, self.flops + other.flops)
        return Part(self.name, *sums)

    def times(self, number: int) -> Part:
        """Repeats the part ``number`` times."""
        return Part(self.name, number * self.prompts, number * self.tokens, number * self.flops)


def forward_flops(sizes: Sizes, tokens: float, pairs: float, scored: float) -> float:
    """Number of operations of forward passes.

    Args:
      sizes: sizes of the model.
      tokens: number of tokens in all rows.
      pairs: number of token pairs in attention: the sum of the squared row lengths.
      scored: number of rows of logits.
    """
    return 2 * sizes.body * tokens + 4 * sizes.layers * sizes.attention * pairs + 2 * sizes.head * scored


def estimate(
    folder: Path | None,
    dataset: Dataset,
    config: LLMConfig,
    demands: Sequence[Demand],
    shape: tuple[int, int],
    seed: int,
) -> dict[str, Any]:
    """Estimates the costs of all work of the model.

    Args:
      folder: folder of the model; only configuration and tokenizer are read. None: the embedded model.
      dataset: data set with the users of the prompts.
      config: model, mode, dtype, device and batch size of the planned run.
      demands: prompts of the stages. The costs of training, LoRA and calibration are added to them.
      shape: L and K of the label stage.
      seed: fixes the sampled prompts.

    Returns:
      Plain values for JSON: ``parts`` (see `Part`), ``rate`` in operations per second, ``refusal`` (the
      reason why the model does not fit, or empty), bytes, hours.

    Raises:
      InputError: the configuration cannot be read, or there is no such device.
    """
    device, dtype = loading.place(config.device, config.dtype)
    template = templates.choose(config.template, embedded=folder is None)
    tokenizer, sizes = _subject(folder, dataset, config, template)
    guessed = isinstance(tokenizer, Guess)
    titles = dataset.catalogue.titles
    ruler = Ruler(tokenizer, folder or Path("embedded"), titles, template, config, sizes.context)
    sample = sample_of(dataset, shape, seed)
    measured = ruler.measure(sample)
    measured_demands = [(demand, ruler.measure(demand.sample)) for demand in demands]
    parts = [] if folder else [_training(sizes, config)]
    if config.lora.steps:
        parts += _lora(sizes, ruler, sample, config)
    if demands:
        parts += _calibration(sizes, ruler, sample, demands, config, dataset.catalogue.num_items)
    parts += _asked(sizes, measured_demands, config)
    all_lengths = (measured, *(lengths for _, lengths in measured_demands))
    needs = [memory.need(sizes, lengths, config.batch_size, dtype) for lengths in all_lengths]
    needed = max(needs, key=lambda need: need.batch)
    free = memory.available(device)
    rate = speed.matmul_rate(device, dtype)
    return {
        "model": config.model or "embedded",
        "mode": config.mode,
        "device": device,
        "dtype": dtype,
        "parameters": sizes.parameters,
        "layers": sizes.layers,
        "counted": f"a guess of {CHARACTERS_PER_TOKEN} characters each" if guessed else "its tokenizer",
        "sampled": len(measured.prompt),
        "mean_tokens": float(measured.prompt.mean()),
        "most_tokens": int(measured.prompt.max()),
        "parts": [part._asdict() for part in parts],
        "weights_bytes": needed.weights,
        "batch_bytes": needed.batch,
        "free_bytes": free,
        "refusal": memory.verdict(needed, free, device, dtype, config),
        "rate": rate,
        "utilisation": UTILISATION,
        "hours": sum(part.flops for part in parts) / (rate * UTILISATION) / 3600,
    }


def _asked(sizes: Sizes, measured_demands: Sequence[tuple[Demand, Lengths]], config: LLMConfig) -> list[Part]:
    """Parts for the stages' prompts in all orders, and one part for the maximum number of retries."""
    by_name: dict[str, Part] = {}
    for demand, measured in measured_demands:
        part = _part(demand.name, demand.count * config.permutations, sizes, measured)
        before = by_name.get(part.name, Part(part.name, 0, 0, 0.0))
        by_name[part.name] = before.plus(part)
    parts = list(by_name.values())
    if config.mode == "generate" and config.retries:
        total = functools.reduce(Part.plus, parts, Part("asked again, at most", 0, 0, 0.0))
        parts.append(total.times(config.retries))
    return parts


def _calibration(
    sizes: Sizes,
    ruler: Ruler,
    sample: Prompts,
    demands: Sequence[Demand],
    config: LLMConfig,
    num_items: int,
) -> list[Part]:
    """Work before the first label of a stage: calibration and checks. Lettered modes need only a check.

    If the first prompts of several stages have the same shape, this work is done only once for these stages.
    """
    first = {demand.name: demand for demand in reversed(demands)}
    times = len({demand.sample.shape for demand in first.values()})
    parts = []
    if config.engine != "vllm":  # two prompts, each by the fast and the plain method
        parts.append(_part("check of the masks", 4 * times, sizes, ruler.measure(sample)))
    if config.mode == "likelihood":
        pairs = ruler.measure(sample._replace(candidates=sample.candidates[:, :2]))
        alone = _unconditional(sizes, ruler, num_items)
        parts += [
            _part("threshold of none", times * none_rule.NUM_PROMPTS, sizes, pairs),
            alone.times(times),
        ]
    return parts


def _subject(
    folder: Path | None, dataset: Dataset, config: LLMConfig, template: templates.Template
) -> tuple[Any, Sizes]:
    """The tokenizer, or a `Guess` if the folder has none, and the sizes of the model."""
    if folder is None:
        tokenizer = embedded.train_tokenizer(dataset.catalogue, template, config.embedded.vocabulary)
        return tokenizer, memory.sizes_of(embedded.build_model(config.embedded, tokenizer).config)
    sizes = memory.read_sizes(folder)
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        return Guess(), sizes
    return loading.load_tokenizer(folder, config.pad_token), sizes


def _part(name: str, count: int, sizes: Sizes, measured: Lengths) -> Part:
    """A part of ``count`` prompts with the measured lengths."""
    tokens = measured.prompt.astype(float) + measured.written
    flops = forward_flops(sizes, tokens.mean(), (tokens**2).mean(), measured.scored.mean())
    return Part(name, count, round(count * tokens.mean()), count * flops)


def _unconditional(sizes: Sizes, ruler: Ruler, num_items: int) -> Part:
    """The part that scores all titles after an empty history."""
    items = np.arange(1, num_items + 1, dtype=np.int32)
    rows = np.resize(items, (-(-num_items // scorer.TOGETHER), scorer.TOGETHER))
    measured = ruler.measure(Prompts(np.zeros((len(rows), 1), np.int32), rows))
    return _part("titles alone", len(rows), sizes, measured)


def _training(sizes: Sizes, config: LLMConfig) -> Part:
    """The part that trains the embedded model: packed rows in which every token is predicted."""
    rows = config.embedded.steps * config.embedded.batch_size
    width = config.embedded.context
    flops = TRAINING * forward_flops(sizes, width, width**2, width)
    return Part("training of the embedded model", rows, rows * width, rows * flops)


def _lora(sizes: Sizes, ruler: Ruler, sample: Prompts, config: LLMConfig) -> list[Part]:
    """One part for LoRA's steps (the small LoRA matrices are ignored), and one for the held-out prompts.

    Before the first step and after the last one, each held-out prompt is labelled once and its loss is
    computed once.
    """
    count = config.lora.negatives + 1 if config.lora.negatives else sample.candidates.shape[1]
    candidates = np.resize(sample.candidates, (sample.num_prompts, count))
    measured = ruler.measure(sample._replace(candidates=candidates))
    passes = LORA + config.lora.gradient_checkpointing
    steps = _part("fine-tuning by LoRA", config.lora.steps * config.lora.batch_size, sizes, measured)
    held_out = _part("held-out prompts of LoRA", 4 * NUM_HELD_OUT, sizes, measured)
    return [steps._replace(flops=passes * steps.flops), held_out]

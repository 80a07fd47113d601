"""Estimates the costs of labelling in advance: tokens, operations, memory, hours. Needs torch.

Chowdhery et al. 2022 (arXiv 2204.02311, appendix B) count the operations of training. A forward pass needs a
third of these operations: 2 per parameter and token, and for attention 4 * layers * (heads * width) per pair
of tokens. The input embedding costs no FLOPs, and the head runs only on scored rows.

The speed of labels is measured, see `ialp_jax.llm.worker.trial`; training the embedded model is assumed to be
as fast. The speed of LoRA, and of a model that cannot be measured, follows from a matrix product.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import embedded, loading, memory, scorer, speed
from ialp_jax.llm.model.memory import Sizes, forward_flops
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
from ialp_jax.llm.worker import precision, trial
from ialp_jax.types import Dataset, Prompts

UTILISATION = 0.5  # Assumed speed without a trial, as a share of the measured matrix-product speed.
TRAINING = 3  # Operations of a training step divided by those of a forward pass (arXiv 2204.02311).
LORA = 2  # This ratio is lower for LoRA, because frozen weights need no weight gradients.


class Part(NamedTuple):
    """A part of the work.

    Attributes:
      name: name of the part.
      prompts: number of prompts.
      tokens: number of tokens that the model reads.
      flops: floating-point operations.
      seconds: time of one process.
      shared: whether several workers share the work.
    """

    name: str
    prompts: int
    tokens: int
    flops: float
    seconds: float = 0.0
    shared: bool = False

    def plus(self, other: Part) -> Part:
        """Adds another part; the sum has the name of this part."""
        return Part(
            self.name,
            self.prompts + other.prompts,
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
            self.shared or other.shared,
        )

    def times(self, number: int) -> Part:
        """Repeats the part ``number`` times."""
        return self._replace(
            prompts=number * self.prompts,
            tokens=number * self.tokens,
            flops=number * self.flops,
            seconds=number * self.seconds,
        )

    def at(self, rate: float, shared: bool = False) -> Part:
        """Sets the time of the part, at ``rate`` operations per second."""
        return self._replace(seconds=self.flops / rate, shared=shared)


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
      Plain values for JSON: ``parts`` (see `Part`), ``rate`` of a matrix product in operations per second,
      ``utilisation`` (speed of labelling as a share of it), ``timed_prompts`` (0: that share is assumed),
      ``refusal`` (the reason why the model does not fit, or empty), bytes, hours of one process.

    Raises:
      InputError: the configuration cannot be read, or there is no such device.
    """
    template = templates.choose(config.template, embedded=folder is None)
    tokenizer, sizes = _subject(folder, dataset, config, template)
    device, dtype = _place(sizes, config)
    guessed = isinstance(tokenizer, Guess)
    titles, where = dataset.catalogue.titles, folder or Path("embedded")
    ruler = Ruler(tokenizer, where, titles, template, config, sizes.context)
    sample = sample_of(dataset, shape, seed)
    measured = ruler.measure(sample)
    measured_demands = [(demand, ruler.measure(demand.sample)) for demand in demands]
    all_lengths = (measured, *(lengths for _, lengths in measured_demands))
    needs = [memory.need(sizes, lengths, config.batch_size, dtype, device) for lengths in all_lengths]
    needed, free = max(needs, key=lambda need: need.batch), memory.available(device)
    refusal = memory.verdict(needed, free, device, dtype, config)
    rate = speed.matmul_rate(device, dtype)
    speeds = trial.Speeds(rate * UTILISATION)
    if demands and not guessed and not refusal and config.engine != "vllm":
        settings = (embedded.build_model(config.embedded, tokenizer).config) if folder is None else None
        model = trial.Shape(settings or loading.read_config(where), sizes, device, dtype)
        samples = [demand.sample for demand in demands]
        speeds = trial.measure(model, tokenizer, where, titles, template, config, ruler, samples, rate)
    usual = speeds.of(sample.shape)
    parts = [] if folder else [_training(sizes, config).at(usual)]
    if config.lora.steps:
        lora_dtype = loading.place(config.device, config.lora.dtype)[1]
        lora_rate = rate if lora_dtype == dtype else speed.matmul_rate(device, lora_dtype)
        parts += [part.at(lora_rate * UTILISATION) for part in _lora(sizes, ruler, sample, config)]
    if demands:
        before = _calibration(sizes, ruler, sample, demands, config, dataset.catalogue.num_items)
        parts += [part.at(usual) for part in before]
    parts += _asked(sizes, measured_demands, config, speeds)
    return {
        "model": config.model or "embedded",
        "mode": config.mode,
        "device": device,
        "dtype": dtype,
        "if_ranks_agree": precision.is_open(config) and dtype == "bfloat16",
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
        "refusal": refusal,
        "rate": rate,
        "timed_prompts": speeds.prompts,
        "utilisation": usual / rate,
        "hours": sum(part.seconds for part in parts) / 3600,
    }


def _place(sizes: Sizes, config: LLMConfig) -> tuple[str, str]:
    """Device and dtype of the planned run; if the dtype needs a measurement, its speed decides here."""
    device, dtype = loading.place(config.device, config.dtype)
    if precision.is_open(config):
        dtype = "bfloat16" if precision.measure_speed(sizes)[0] else "float32"
    return device, dtype


def _asked(
    sizes: Sizes,
    measured_demands: Sequence[tuple[Demand, Lengths]],
    config: LLMConfig,
    speeds: trial.Speeds,
) -> list[Part]:
    """Parts for the stages' prompts in all orders, and one part for the maximum number of retries."""
    by_name: dict[str, Part] = {}
    for demand, measured in measured_demands:
        part = _part(demand.name, demand.count * config.permutations, sizes, measured)
        part = part.at(speeds.of(demand.sample.shape), shared=True)
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

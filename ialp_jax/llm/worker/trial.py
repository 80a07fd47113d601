"""Times the labelling of some real prompts before a run. Needs torch.

Only the configuration and the tokenizer of the model are known, so the trial uses random weights of the same
shape, which need the same time. A large model gets fewer layers. The result is a speed in operations per
second. `ialp_jax.llm.model.memory.forward_flops` counts the operations of the model with fewer layers.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines.transformers_engine import TransformersEngine
from ialp_jax.llm.model import loading, memory, weights
from ialp_jax.llm.model.memory import Sizes, forward_flops
from ialp_jax.llm.prompting.lengths import Ruler
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts

SECONDS = 12.0  # time of the timed batches of one shape of prompts, approximately
MOST_PARAMETERS = 400e6  # in the layers of the measured model
WARM_UP = 4  # prompts of a batch that is not timed


class Speeds(NamedTuple):
    """Measured speeds of labelling.

    Attributes:
      fallback: operations per second of shapes that were not measured.
      measured: operations per second by shape (L, K) of the prompts.
      prompts: number of timed prompts.
    """

    fallback: float
    measured: Mapping[tuple[int, int], float] = MappingProxyType({})
    prompts: int = 0

    def of(self, shape: tuple[int, int]) -> float:
        """Speed for prompts of a shape; for a new shape, the slowest measured speed."""
        return self.measured.get(shape, min(self.measured.values(), default=self.fallback))


class Shape(NamedTuple):
    """What the trial needs to know about a model.

    Attributes:
      settings: its transformers configuration.
      sizes: its sizes.
      device, dtype: where and in which dtype the run computes.
    """

    settings: Any
    sizes: Sizes
    device: str
    dtype: str

    def smaller(self) -> Shape:
        """The model with so few layers that they have at most `MOST_PARAMETERS` parameters."""
        layers = max(1, int(MOST_PARAMETERS * self.sizes.layers / max(1, self.sizes.body)))
        if layers >= self.sizes.layers:
            return self
        settings = copy.deepcopy(self.settings)
        text = settings.get_text_config(decoder=True)
        kinds = getattr(text, "layer_types", None)
        text.num_hidden_layers = layers
        if kinds:
            text.layer_types = list(kinds)[:layers]
        return self._replace(settings=settings, sizes=memory.sizes_of(settings))

    def build(self) -> Any:
        """A model of this shape with random weights."""
        with torch.device(self.device):
            model = transformers.AutoModelForCausalLM.from_config(
                self.settings,
                dtype=getattr(torch, self.dtype),
                attn_implementation=weights.attention_of(self.settings),
                trust_remote_code=False,
            )
        weights.keep_to_scores(model)
        return model.eval()


def measure(
    shape: Shape,
    tokenizer: Any,
    folder: Path,
    titles: Sequence[str],
    template: Template,
    config: LLMConfig,
    ruler: Ruler,
    samples: Sequence[Prompts],
    rate: float,
) -> Speeds:
    """Times batches of each shape of prompts, in the configured mode.

    Args:
      shape: the model.
      tokenizer, folder, titles, template, config: as for `Scorer`.
      ruler: measures the lengths of prompts.
      samples: prompts of the run. Samples with the same L and K count as one.
      rate: operations per second of a matrix product, to keep a batch of a slow model short.

    Returns:
      The speeds, or only the fallback, half of ``rate``, if a model of this shape cannot be built.
    """
    fallback = Speeds(rate / 2)
    try:
        shape = shape.smaller()
        model = shape.build()
    except (*loading.UNREADABLE, torch.OutOfMemoryError):
        return fallback
    engine = TransformersEngine(folder, titles, template, config, loaded=(model, tokenizer))
    measured, num_prompts = {}, 0
    for sample in {sample.shape: sample for sample in reversed(samples)}.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself warns
            engine.check(sample.shape)
        operations, seconds, count = _timed(engine, sample, shape.sizes, ruler, rate)
        measured[sample.shape], num_prompts = operations / seconds, num_prompts + count
    return fallback._replace(measured=measured, prompts=num_prompts)


def _timed(
    engine: TransformersEngine, sample: Prompts, sizes: Sizes, ruler: Ruler, rate: float
) -> tuple[float, float, int]:
    """Operations, seconds and number of prompts of some batches, in the order of `spread`."""
    order = engine.order(sample)
    each = _operations(sizes, ruler, sample) / sample.num_prompts
    affordable = int(SECONDS * rate / 2 / each)
    size = max(1, min(engine.batch_size, affordable, len(order)))
    batches = np.split(order, range(size, len(order), size))
    label(engine, sample.rows(order[len(order) // 2 :][:WARM_UP]))
    operations, seconds, count = 0.0, 0.0, 0
    for number in spread(len(batches)):
        prompts = sample.rows(batches[number])
        began = time.perf_counter()
        label(engine, prompts)
        seconds += time.perf_counter() - began
        operations += _operations(sizes, ruler, prompts)
        count += prompts.num_prompts
        if seconds >= SECONDS:
            break
    return operations, seconds, count


def label(engine: TransformersEngine, prompts: Prompts) -> None:
    """Does the work of one answer to each prompt in one order of the candidates, without repeats."""
    if engine.asker is None:
        engine.score(prompts)
    elif engine.mode == "generate":
        engine.asker.write(prompts)
    else:
        engine.asker.score(prompts)


def spread(count: int) -> list[int]:
    """The numbers below ``count``, so that the first few are spread evenly: middle, quarters, eighths, ..."""
    places = (step * (2 * k + 1) for step in (0.5**n for n in range(1, 64)) for k in range(round(0.5 / step)))
    numbers: dict[int, None] = {}
    while len(numbers) < count:
        numbers[int(next(places) * count)] = None
    return list(numbers)


def _operations(sizes: Sizes, ruler: Ruler, prompts: Prompts) -> float:
    """Operations of labelling the prompts, without padding."""
    measured = ruler.measure(prompts)
    tokens = measured.prompt.astype(float) + measured.written
    return forward_flops(sizes, tokens.sum(), (tokens**2).sum(), measured.scored.sum())

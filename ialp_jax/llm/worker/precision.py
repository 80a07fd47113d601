"""Chooses float32 or bfloat16 on a CPU by measurement (``llm.dtype=auto``). Needs torch.

bfloat16 is chosen only if both hold on this machine:

1. Speed: products of matrices of the model's own sizes are at least `FASTER` times as fast as in float32. So
   it is on processors with instructions for bfloat16 (AVX-512 bf16, AMX).
2. Ranks: on `NUM_PROMPTS` prompts, the scores of the candidates have a mean rank correlation (Spearman) of at
   least `AGREEMENT` with those in float32, or the best candidate is the same in all prompts.

Models with fewer than `SMALLEST` parameters in their layers stay in float32: they have little to gain, and a
measurement of their small products could change from run to run. So the embedded model keeps its bits.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines.transformers_engine import TransformersEngine
from ialp_jax.llm.model import memory
from ialp_jax.llm.model.loading import of_dtype
from ialp_jax.llm.model.scorer import Scorer
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts

FASTER = 1.2  # Smaller gains are not worth the rounding, and a second measurement might deny them.
AGREEMENT = 0.99
NUM_PROMPTS = 16
SMALLEST = 10e6
REPEATS = 5
MOST_OPERATIONS = 5e9  # of one product, so that a large model is measured in well under a second
FEWEST_OPERATIONS = 2e8  # of one measurement, so that a small product is repeated
ROWS = (16, 512)  # fewest and most rows of the left matrix


class Choice(NamedTuple):
    """A dtype and the measurements behind it.

    Attributes:
      dtype: ``float32`` or ``bfloat16``.
      facts: measurements for the manifest of the labels; empty if nothing was measured.
    """

    dtype: str
    facts: dict[str, Any]


def is_open(config: LLMConfig) -> bool:
    """Whether the settings leave the dtype to a measurement of this module."""
    cpu = config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available())
    return config.dtype == "auto" and bool(config.model) and cpu and config.engine == "transformers"


def speed_ratio(sizes: memory.Sizes) -> float:
    """Speed of bfloat16 divided by the speed of float32, for a product of the model's feed-forward part.

    Both take turns; the result is the median over `REPEATS` pairs. The threads are those of the process.
    """
    each = 2 * sizes.hidden * sizes.intermediate
    rows = int(np.clip(MOST_OPERATIONS / each, *ROWS))
    times = int(np.clip(FEWEST_OPERATIONS / (rows * each), 1, 200))
    left, right = torch.randn(rows, sizes.hidden), torch.randn(sizes.hidden, sizes.intermediate)
    pairs = [(left, right), (left.bfloat16(), right.bfloat16())]
    for one, other in pairs:
        torch.mm(one, other)  # prepares the kernels
    ratios = []
    for _ in range(REPEATS):
        seconds = []
        for one, other in pairs:
            began = time.perf_counter()
            for _ in range(times):
                torch.mm(one, other)
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def measure_speed(sizes: memory.Sizes) -> tuple[bool, dict[str, Any]]:
    """Whether bfloat16 is fast enough here for a model, and the measurement; none if it is small."""
    if sizes.body < SMALLEST:
        return False, {}
    ratio = speed_ratio(sizes)
    return ratio >= FASTER, {"bfloat16_speed": round(ratio, 2)}


def choose(
    folder: Path, titles: Sequence[str], template: Template, config: LLMConfig, prompts: Prompts
) -> Choice:
    """Measures the speed and, if bfloat16 is faster, the ranks.

    Args:
      folder: folder of the model.
      titles: N + 1 titles; ``titles[0]`` is padding.
      template: the text around titles.
      config: settings for which `is_open` is true.
      prompts: prompts of the run; the first `NUM_PROMPTS` are scored in both dtypes.

    Raises:
      InputError: the model cannot be loaded, or its float32 copy does not fit into memory.
    """
    is_faster, facts = measure_speed(memory.read_sizes(folder))
    if not is_faster:
        return Choice("float32", facts)
    some, alone = prompts.rows(slice(NUM_PROMPTS)), dataclasses.replace(config, workers=0)
    memory.require(folder, titles, template, of_dtype(alone, "float32"), some.shape)
    scores: list[np.ndarray] = []
    plain = False
    for dtype in ("float32", "bfloat16"):
        engine = TransformersEngine(folder, titles, template, of_dtype(alone, dtype))
        if not scores:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the check of the chosen engine warns later
                engine.check(some.shape)
            plain = engine.plain
        engine.plain = plain
        scores.append(scores_of(engine, some))
        del engine  # before the next copy of the weights is loaded
    correlation, same_best = agreement(*scores)
    facts |= {"bfloat16_rank_correlation": round(correlation, 4), "bfloat16_same_best": round(same_best, 4)}
    agree = correlation >= AGREEMENT or same_best == 1.0
    return Choice("bfloat16" if agree else "float32", facts)


def scores_of(scorer: Scorer, prompts: Prompts) -> np.ndarray:
    """Scores of the candidates: of their titles or, in lettered modes, of their letters; float32 [P, K]."""
    if scorer.asker is None:
        return scorer.score(prompts)[0]
    return scorer.asker.lines(prompts).numpy()[:, :-1]


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean rank correlation of two sets of scores [P, K], and the share of prompts with the same best.

    Candidates without a finite score make the ranks disagree.
    """
    if not len(one) or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0, 0.0
    ranks = [stats.rankdata(scores, axis=1) for scores in (one, other)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    products = (centred[0] * centred[1]).sum(1)
    norms = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    correlations = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return float(correlations.mean()), float((one.argmax(1) == other.argmax(1)).mean())

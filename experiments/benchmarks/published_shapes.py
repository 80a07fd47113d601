"""Measures label speed with random weights in the shapes of published models, in mode ``likelihood``.

The prompts are those of `experiments.benchmarks.labels`, but K = 20. This module loads torch and not JAX.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from experiments.benchmarks.labels import dataset, draw, operations, quiet, race
from experiments.benchmarks.rows import Row, peak_memory
from ialp_jax.data.files import save_dataset
from ialp_jax.labelling.worker_pool import WorkerPool
from ialp_jax.labelling.worker_process import WorkerProcess
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.engines.transformers_engine import TransformersEngine
from ialp_jax.llm.model import embedded, memory, speed
from ialp_jax.llm.model.scorer import Scorer
from ialp_jax.llm.modes import likelihood
from ialp_jax.llm.prompting import templates
from ialp_jax.llm.worker import precision, trial
from ialp_jax.llm.worker.protocol import CALIBRATION

K = 20
PUBLISHED = 32_000  # prompts of a large run
WORDS = 3_000  # tokens of the tokenizer: titles then have as many tokens as with a published tokenizer
# Configurations of transformers by name: SmolLM2-135M, Mistral-7B, and a tiny one for tests.
SHAPES: dict[str, dict[str, Any]] = {
    "135m": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "7b": {"model_type": "mistral", "sliding_window": None},
    "tiny": {
        "model_type": "llama",
        "vocab_size": WORDS,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


def shaped(name: str, dtype: str, device: str) -> trial.Shape:
    """A shape of `SHAPES` in a dtype on a device."""
    kind = {**SHAPES[name], "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(**kind)
    return trial.Shape(config, memory.sizes_of(config), device, dtype)


def smollm_likelihood(case: str, count: int, shape: str = "135m", repeats: int = 3) -> list[Row]:
    """Compares the label speed of one worker per core with that of one process in float32, one thread each.

    The workers use the dtype that `precision.choose` measures as the better one. One process with this dtype
    is measured, too. The three ways take turns, and each result is a median. The process in float32 labels
    ``count`` prompts, the other process twice as many, and each worker also twice as many.
    """
    quiet()
    torch.set_num_threads(1)
    data, template = dataset(), templates.TEMPLATES["list"]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    prompts = draw(data, 2 * count * workers, K)
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = root / "model"
        torch.manual_seed(0)
        embedded.train_tokenizer(data.catalogue, template, WORDS).save_pretrained(folder)
        shaped(shape, "float32", "cpu").build().save_pretrained(folder)
        save_dataset(root / "data", data, {})
        config = LLMConfig(model=str(folder), template="list", workers=workers, device="cpu")
        choice = precision.choose(folder, data.catalogue.titles, template, config, prompts)
        ways = {
            dtype: Scorer(folder, data.catalogue.titles, template, dataclasses.replace(config, dtype=dtype))
            for dtype in {"float32", choice.dtype}
        }
        chosen = dataclasses.replace(config, dtype=choice.dtype, threads=1)
        pool = stack.enter_context(_pool(chosen, root, prompts.shape))
        few, more = prompts.rows(slice(count)), prompts.rows(slice(2 * count))
        seconds = race(
            lambda: ways["float32"].answer(few),
            lambda: ways[choice.dtype].answer(more),
            lambda: list(pool.answers([prompts], config.batch_size)),
            repeats=repeats,
        )
    base, one, all_of_them = (
        part.num_prompts / time for part, time in zip((few, more, prompts), seconds, strict=True)
    )
    baseline = "float32_one_thread"
    return [
        Row(case, "prompts_per_second", all_of_them, "prompts/s", baseline, all_of_them / base),
        Row(case, "one_thread_prompts_per_second", one, "prompts/s", baseline, one / base),
        Row(case, f"{baseline}_prompts_per_second", base, "prompts/s"),
        Row(case, f"minutes_for_{PUBLISHED}", PUBLISHED / all_of_them / 60, "min"),
        Row(case, "workers", workers, ""),
        Row(case, "bfloat16", float(choice.dtype == "bfloat16"), ""),
        *(Row(case, name, value, "") for name, value in choice.facts.items()),
        Row(case, "tokens_per_prompt", ways["float32"].answer(few)[1] / count, "tokens"),
        Row(case, "peak_memory", peak_memory(), "MiB"),
    ]


@contextlib.contextmanager
def _pool(config: LLMConfig, root: Path, shape: tuple[int, int]) -> Iterator[WorkerPool]:
    """The workers of the label stage with the model in ``root``."""
    order = {
        "do": "load",
        "config": dataclasses.asdict(config),
        "seed": 0,
        "data_folder": str(root / "data"),
        "model_folder": config.model,
        "shape": shape,
        CALIBRATION: None,
        "plain": False,
        "wrapper": None,
    }
    first = WorkerProcess(root / "worker.log")
    pool = WorkerPool(first, config.workers, root / "worker.log")
    try:
        first.ask(order)
        pool.load(order)
        yield pool
    finally:
        pool.close()
        first.close()


def gpu_labels(case: str, shape: str, batch: int, repeats: int = 3) -> list[Row]:
    """Measures mode ``likelihood`` with random weights of a shape, in bfloat16 on a GPU; on a CPU in tests.

    Four batches are labelled at a time, or two if a batch has more than 128 prompts.

    Args:
      case: name of the case.
      shape: key of `SHAPES`.
      batch: prompts per forward pass.
      repeats: number of timed repeats; the result is a median.
    """
    quiet()
    began, device = time.perf_counter(), "cuda" if torch.cuda.is_available() else "cpu"
    data, template = dataset(), templates.TEMPLATES["list"]
    torch.manual_seed(0)
    tokenizer = embedded.train_tokenizer(data.catalogue, template, WORDS)
    model = shaped(shape, "bfloat16", device)
    config = LLMConfig(model=shape, batch_size=batch, dtype="bfloat16", device=device)
    loaded = model.build(), tokenizer
    engine = TransformersEngine(Path(shape), data.catalogue.titles, template, config, loaded=loaded)
    prompts = draw(data, batch * (4 if batch <= 128 else 2), K)
    engine.check(prompts.shape)
    (seconds,) = race(lambda: engine.answer(prompts), repeats=repeats)
    tokens = engine.answer(prompts)[1]
    work = operations(loaded[0], likelihood.by_length(engine.tokens, prompts, engine.limit)[1])
    share = work / seconds / speed.matmul_rate(device, "bfloat16")
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak_memory()
    return [
        Row(case, "prompts_per_second", prompts.num_prompts / seconds, "prompts/s"),
        Row(case, "tokens_per_second", tokens / seconds, "tokens/s"),
        Row(case, "tokens_per_prompt", tokens / prompts.num_prompts, "tokens"),
        Row(case, "share_of_matmul_rate", share, ""),
        Row(case, f"minutes_for_{PUBLISHED}", PUBLISHED * seconds / prompts.num_prompts / 60, "min"),
        Row(case, "fast_method", float(not engine.plain), ""),
        Row(case, "peak_memory", peak, "MiB"),
        Row(case, "measured_seconds", time.perf_counter() - began, "s"),
    ]

"""Compares the speed of each mode of the LLM with simple implementations.

A prompt has a history of 1 to 10 likes and K = 10 candidates. The candidates are drawn from all likes of all
users, so popular items are frequent. The prompts come from Last.fm if its files are in ``IALP_DATA`` or
``../shared/data``, otherwise from the generated world. The model is a Mistral with random weights (hidden
size 256, 4 layers, 4.9 million parameters). Larger models are in `experiments.benchmarks.published_shapes`.
This module loads torch and not JAX.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from experiments.benchmarks.real_data import data_root
from experiments.benchmarks.rows import Row, peak_memory
from experiments.benchmarks.timing import Program, medians
from ialp_jax import keys
from ialp_jax.data import DataConfig, load
from ialp_jax.llm.config import EmbeddedConfig, LLMConfig
from ialp_jax.llm.model import embedded, memory, speed
from ialp_jax.llm.model.scorer import Scorer
from ialp_jax.llm.prompting import letters, templates
from ialp_jax.types import Dataset, Prompts

K, LENGTH, NEW_TOKENS, BATCH = 10, 10, 8, 64
SMALL = EmbeddedConfig(hidden=256, layers=4, heads=4, vocabulary=6_700, context=1024)
DTYPES = ("float32", "bfloat16")


class LabelTask(NamedTuple):
    """A model, and prompts to label with it.

    Attributes:
      scorer: the model.
      prompts: P prompts.
    """

    scorer: Scorer
    prompts: Prompts

    def part(self, count: int) -> Prompts:
        """The first ``count`` prompts."""
        return self.prompts.rows(slice(count))


def dataset() -> Dataset:
    """Last.fm if its files exist, else the generated world."""
    root = data_root() / "lastfm_hetrec2011"
    return load(DataConfig(name="lfm", root=str(root)) if root.is_dir() else DataConfig(name="demo"))


def draw(data: Dataset, count: int, num_candidates: int = K) -> Prompts:
    """Draws prompts with histories of 1 to L likes and ``num_candidates`` different candidates."""
    generator = keys.generator(0, "benchmark labels")
    users = [u for u in range(data.num_users) if len(data.histories.of(u)) >= LENGTH]
    histories = np.zeros((count, LENGTH), np.int32)
    candidates = np.zeros((count, num_candidates), np.int32)
    for p in range(count):
        length = int(generator.integers(1, LENGTH + 1))
        histories[p, LENGTH - length :] = data.histories.of(int(generator.choice(users)))[:length]
        drawn = np.unique(generator.choice(data.histories.items, 10 * num_candidates))
        candidates[p] = generator.permutation(drawn)[:num_candidates]
    return Prompts(histories, candidates)


def save_small(folder: Path, data: Dataset, template: templates.Template) -> None:
    """Saves the model and its tokenizer. The tokenizer is trained on the template's words."""
    words = [template.introduction, template.liked, template.offered, template.none, template.question]
    lines = [" ".join(pair) for text in [*words, template.cue] for pair in itertools.pairwise(text.split())]
    lines.append(" ".join(letters.LETTERS[-1] + letters.LETTERS))
    catalogue = dataclasses.replace(data.catalogue, titles=(*data.catalogue.titles, *lines * 200))
    torch.manual_seed(0)
    tokenizer = embedded.train_tokenizer(catalogue, template, SMALL.vocabulary)
    embedded.build_model(SMALL, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def quiet() -> None:
    """Switches off the messages of transformers."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def faster_dtype() -> str:
    """The dtype in which this machine multiplies faster."""
    return max(DTYPES, key=lambda dtype: speed.matmul_rate("cpu", dtype))


def prepare(mode: str, count: int, dtype: str = "", **settings: Any) -> LabelTask:
    """Builds the small model and ``count`` prompts; the default dtype is the faster one on this machine."""
    quiet()
    dtype = dtype or faster_dtype()
    data, template = dataset(), templates.TEMPLATES["list"]
    with tempfile.TemporaryDirectory() as folder:
        save_small(Path(folder), data, template)
        config = LLMConfig(model=folder, mode=mode, dtype=dtype, **settings)
        scorer = Scorer(Path(folder), data.catalogue.titles, template, config)
    return LabelTask(scorer, draw(data, count))


def race(*runs: Callable[[], object], repeats: int = 5) -> list[float]:
    """Median seconds of each run; the runs take turns."""

    def program(run: Callable[[], object]) -> Program:
        run()
        return Program(lambda steps: [run() for _ in range(steps)], 0.0)

    return medians([program(run) for run in runs], seconds=0.0, repeats=repeats)


def whole_prompts(task: LabelTask, count: int) -> list[torch.Tensor]:
    """The prompts as token ids without padding, in their given order."""
    ids, mask = task.scorer.asker.letters.padded(task.part(count))
    return [torch.from_numpy(row[is_token > 0]) for row, is_token in zip(ids, mask, strict=True)]


def generating(task: LabelTask, count: int, batch: int) -> Callable[[], None]:
    """Calls `model.generate` for exactly 8 new tokens, in batches of prompts in their given order."""
    model, blocks = task.scorer.model, task.scorer.asker.letters
    exact = transformers.GenerationConfig(
        max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, eos_token_id=2
    )
    parts = [slice(start, min(start + batch, count)) for start in range(0, count, batch)]
    padded = [blocks.padded(task.prompts.rows(part)) for part in parts]

    @torch.inference_mode()
    def run() -> None:
        for ids, mask in padded:
            ids, mask = torch.from_numpy(ids).to(model.device), torch.from_numpy(mask).to(model.device)
            if mask.all():
                mask = None
            model.generate(input_ids=ids, attention_mask=mask, generation_config=exact)

    return run


def best_simple(task: LabelTask, count: int, batch: int) -> Callable[[], None]:
    """Fast simple baseline, which runs the LM head only on the last position of each prompt.

    Prompts are padded on the right and keep their given order.
    """
    model, texts = task.scorer.model, whole_prompts(task, count)
    named = torch.tensor([ids[0] for ids in task.scorer.asker.letters.names[: K + 1]])

    @torch.inference_mode()
    def run() -> None:
        for start in range(0, count, batch):
            part = texts[start : start + batch]
            ids = torch.nn.utils.rnn.pad_sequence(part, batch_first=True).to(model.device)
            last = torch.tensor([len(row) - 1 for row in part], device=model.device)
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model.lm_head(hidden[torch.arange(len(part)), last].contiguous())
            logits[:, named].float().log_softmax(-1).cpu()

    return run


def full_sequences(task: LabelTask, count: int, batch: int) -> Callable[[], None]:
    """Title likelihoods from K complete sequences per prompt, padded on the right, in their given order."""
    tokens, model = task.scorer.tokens, task.scorer.model
    sequences, begins = [], []
    prompts = task.part(count)
    for history, candidates in zip(prompts.histories, prompts.candidates, strict=True):
        before = np.concatenate([tokens.prefix, *(tokens.of(item) for item in history)])
        for item in candidates:
            sequences.append(torch.from_numpy(np.concatenate([before, tokens.of(item)])))
            begins.append(len(before))

    @torch.inference_mode()
    def run() -> None:
        for start in range(0, len(sequences), batch):
            part = sequences[start : start + batch]
            ids = torch.nn.utils.rnn.pad_sequence(part, batch_first=True).to(model.device)
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            for row, (sequence, begin) in enumerate(zip(part, begins[start : start + batch], strict=True)):
                logits = model.lm_head(hidden[row, begin - 1 : len(sequence) - 1]).float().log_softmax(-1)
                logits.gather(1, sequence[begin:, None].to(model.device)).sum().item()

    return run


def operations(model: Any, lengths: Sequence[int]) -> float:
    """FLOPs of the decoder on sequences without padding; causal attention covers half of all token pairs."""
    lengths = np.asarray(lengths, np.float64)
    return memory.forward_flops(memory.sizes_of(model.config), lengths.sum(), (lengths**2).sum() / 2, 0)


def report(
    case: str,
    task: LabelTask,
    count: int,
    seconds: float,
    tokens: int,
    baseline: str,
    baseline_seconds: float,
) -> list[Row]:
    """The result rows of a mode on ``count`` prompts; ``baseline_seconds`` is seconds per prompt."""
    speed = count / seconds
    return [
        Row(case, "prompts_per_second", speed, "prompts/s", baseline, speed * baseline_seconds),
        Row(case, f"{baseline}_prompts_per_second", 1 / baseline_seconds, "prompts/s"),
        Row(case, "tokens_per_second", tokens / seconds, "tokens/s"),
        Row(case, "tokens_per_prompt", tokens / count, "tokens"),
        Row(case, "bfloat16", float(task.scorer.model.dtype == torch.bfloat16), ""),
        Row(case, "peak_memory", peak_memory(), "MiB"),
    ]


def choice(case: str, against: str, count: int, baseline_count: int) -> list[Row]:
    """Compares mode ``choice`` with `model.generate` (single prompts or batches) or with `best_simple`."""
    task = prepare("choice", count)
    baselines = {
        "generate_one": (generating, 1),
        "generate_batch": (generating, BATCH),
        "simple": (best_simple, BATCH),
    }
    make, batch = baselines[against]
    choice_seconds, other_seconds = race(
        lambda: task.scorer.answer(task.part(count)), make(task, baseline_count, batch)
    )
    tokens = task.scorer.answer(task.part(count))[1]
    rows = report(case, task, count, choice_seconds, tokens, against, other_seconds / baseline_count)
    if against == "simple":
        rate = speed.matmul_rate("cpu", str(task.scorer.model.dtype).removeprefix("torch."))
        work = operations(task.scorer.model, task.scorer.asker.letters.lengths(task.part(count)))
        rows.append(Row(case, "share_of_matmul_rate", work / choice_seconds / rate, ""))
        rows.append(Row(case, "parameters", sum(p.numel() for p in task.scorer.model.parameters()), ""))
    return rows


def likelihood(case: str, count: int, baseline_count: int) -> list[Row]:
    """Compares mode ``likelihood`` with a baseline that scores K full sequences per prompt, in batches."""
    task = prepare("likelihood", count)
    seconds, other_seconds = race(
        lambda: task.scorer.answer(task.part(count)), full_sequences(task, baseline_count, BATCH)
    )
    tokens = task.scorer.answer(task.part(count))[1]
    return report(case, task, count, seconds, tokens, "full_sequences", other_seconds / baseline_count)


def generate(case: str, count: int) -> list[Row]:
    """Compares mode ``generate`` (with its grammar, without retries) with `model.generate` in batches."""
    task = prepare("generate", count, retries=0)
    seconds, other_seconds = race(
        lambda: task.scorer.answer(task.part(count)), generating(task, count, BATCH)
    )
    tokens = task.scorer.answer(task.part(count))[1]
    return report(case, task, count, seconds, tokens, "generate_batch", other_seconds / count)


def dtypes(case: str, count: int) -> list[Row]:
    """Compares float32 and bfloat16 on this machine, for matrix products and for mode ``choice``."""
    rates = {name: speed.matmul_rate("cpu", name) for name in DTYPES}
    rows = [Row(case, f"matmul_{name}", rate / 1e9, "GFLOP/s") for name, rate in rates.items()]
    both = [prepare("choice", count, name) for name in rates]
    full, half = race(*(lambda task=task: task.scorer.answer(task.part(count)) for task in both))
    rows.append(Row(case, "choice_float32", count / full, "prompts/s"))
    rows.append(Row(case, "choice_bfloat16", count / half, "prompts/s", "choice_float32", full / half))
    return rows

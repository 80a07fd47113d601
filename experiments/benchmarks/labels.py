"""The speed of asking: each mode on real prompts of mixed lengths, against what one writes first.

Prompts come from Last.fm where it is at hand (``IALP_DATA`` or ``../shared/data``), else from the generated
world: a history of 1 to 10 likes and K = 10 items out of all likes, so popular ones are frequent. The model
is a randomly initialised Mistral (hidden 256, 4 layers, 4.9 million parameters). torch alone is loaded.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
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
from ialp_jax.llm.modes.choice import letter_scores
from ialp_jax.llm.prompting import letters, templates
from ialp_jax.llm.worker import estimate
from ialp_jax.types import Dataset, Prompts

K, LENGTH, NEW_TOKENS, BATCH = 10, 10, 8, 64
SMALL = EmbeddedConfig(hidden=256, layers=4, heads=4, vocabulary=6_700, context=1024)
DTYPES = ("float32", "bfloat16")


class Asked(NamedTuple):
    """P prompts, and a model to ask."""

    scorer: Scorer
    prompts: Prompts

    def part(self, count: int) -> Prompts:
        """The first prompts."""
        return self.prompts.rows(slice(count))


def dataset() -> Dataset:
    """Last.fm where there is any, else the generated world."""
    root = data_root() / "lastfm_hetrec2011"
    return load(DataConfig(name="lfm", root=str(root)) if root.is_dir() else DataConfig(name="demo"))


def draw(data: Dataset, count: int) -> Prompts:
    """Prompts with histories of 1 to L likes and K candidates without repetition."""
    generator = keys.generator(0, "benchmark labels")
    users = [u for u in range(data.num_users) if len(data.histories.of(u)) >= LENGTH]
    histories = np.zeros((count, LENGTH), np.int32)
    candidates = np.zeros((count, K), np.int32)
    for p in range(count):
        known = int(generator.integers(1, LENGTH + 1))
        histories[p, LENGTH - known :] = data.histories.of(int(generator.choice(users)))[:known]
        drawn = np.unique(generator.choice(data.histories.items, 10 * K))
        candidates[p] = generator.permutation(drawn)[:K]
    return Prompts(histories, candidates)


def save_small(folder: Path, data: Dataset, template: templates.Template) -> None:
    """The model and its tokenizer, which knows the template's words as a large one would."""
    words = [template.introduction, template.liked, template.offered, template.none, template.question]
    lines = [" ".join(pair) for text in [*words, template.cue] for pair in itertools.pairwise(text.split())]
    lines.append(" ".join(letters.LETTERS[-1] + letters.LETTERS))
    catalogue = dataclasses.replace(data.catalogue, titles=(*data.catalogue.titles, *lines * 200))
    torch.manual_seed(0)
    tokenizer = embedded.train_tokenizer(catalogue, template, SMALL.vocabulary)
    embedded.build_model(SMALL, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prepare(mode: str, count: int, dtype: str = "fastest", **settings: Any) -> Asked:
    """The small model, ready to be asked ``count`` prompts; in the faster dtype where none is given."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    data, template = dataset(), templates.TEMPLATES["list"]
    with tempfile.TemporaryDirectory() as folder:
        save_small(Path(folder), data, template)
        config = LLMConfig(model=folder, mode=mode, dtype=dtype, **settings)
        scorer = Scorer(Path(folder), data.catalogue.titles, template, config)
    return Asked(scorer, draw(data, count))


def race(*runs: Callable[[], object]) -> list[float]:
    """Median seconds of each run, in turns."""

    def program(run: Callable[[], object]) -> Program:
        run()
        return Program(lambda steps: [run() for _ in range(steps)], 0.0)

    return medians([program(run) for run in runs], seconds=0.0, repeats=5)


def whole_prompts(asked: Asked, count: int) -> list[torch.Tensor]:
    """The prompts in order of arrival as token ids, each without padding."""
    ids, mask = asked.scorer.asker.letters.padded(asked.part(count))
    return [torch.from_numpy(row[seen > 0]) for row, seen in zip(ids, mask, strict=True)]


def generating(asked: Asked, count: int, batch: int) -> Callable[[], None]:
    """`model.generate` with exactly 8 new tokens, in batches in order of arrival."""
    model, blocks = asked.scorer.model, asked.scorer.asker.letters
    exact = transformers.GenerationConfig(
        max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, eos_token_id=2
    )
    parts = [slice(start, min(start + batch, count)) for start in range(0, count, batch)]
    padded = [blocks.padded(asked.prompts.rows(part)) for part in parts]

    @torch.inference_mode()
    def run() -> None:
        for ids, mask in padded:
            ids, mask = torch.from_numpy(ids).to(model.device), torch.from_numpy(mask).to(model.device)
            if mask.all():
                mask = None
            model.generate(input_ids=ids, attention_mask=mask, generation_config=exact)

    return run


def best_simple(asked: Asked, count: int, batch: int) -> Callable[[], None]:
    """Base model, last position made contiguous, head; padded on the right, in order of arrival."""
    model, texts = asked.scorer.model, whole_prompts(asked, count)
    named = torch.tensor([ids[0] for ids in asked.scorer.asker.letters.names[: K + 1]])

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


def full_sequences(asked: Asked, count: int, batch: int) -> Callable[[], None]:
    """Title likelihoods from K whole sequences per prompt, padded on the right, in order of arrival."""
    tokens, model = asked.scorer.tokens, asked.scorer.model
    sequences, begins = [], []
    prompts = asked.part(count)
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
    """Operations of the decoder on sequences without padding; causal attention is half a square."""
    lengths = np.asarray(lengths, np.float64)
    return estimate.forward_flops(memory.sizes_of(model.config), lengths.sum(), (lengths**2).sum() / 2, 0)


def report(
    case: str, asked: Asked, count: int, seconds: float, tokens: int, baseline: str, other: float
) -> list[Row]:
    """Rows of a mode on ``count`` prompts; ``other`` is the baseline's seconds per prompt."""
    speed = count / seconds
    return [
        Row(case, "prompts_per_second", speed, "prompts/s", baseline, speed * other),
        Row(case, f"{baseline}_prompts_per_second", 1 / other, "prompts/s"),
        Row(case, "tokens_per_second", tokens / seconds, "tokens/s"),
        Row(case, "tokens_per_prompt", tokens / count, "tokens"),
        Row(case, "bfloat16", float(asked.scorer.model.dtype == torch.bfloat16), ""),
        Row(case, "peak_memory", peak_memory(), "MiB"),
    ]


def choice(case: str, against: str, count: int, baseline_count: int) -> list[Row]:
    """``choice`` against 8 new tokens of ``generate``, one prompt per call or batched, or ``simple``."""
    asked = prepare("choice", count)
    rivals = {
        "generate_one": (generating, 1),
        "generate_batch": (generating, BATCH),
        "simple": (best_simple, BATCH),
    }
    make, batch = rivals[against]
    mine, other = race(lambda: asked.scorer.answer(asked.part(count)), make(asked, baseline_count, batch))
    tokens = asked.scorer.answer(asked.part(count))[1]
    found = report(case, asked, count, mine, tokens, against, other / baseline_count)
    if against == "simple":
        rate = speed.matmul_rate("cpu", str(asked.scorer.model.dtype).removeprefix("torch."))
        work = operations(asked.scorer.model, asked.scorer.asker.letters.lengths(asked.part(count)))
        found.append(Row(case, "share_of_matmul_rate", work / mine / rate, ""))
        found.append(Row(case, "parameters", sum(p.numel() for p in asked.scorer.model.parameters()), ""))
    return found


def likelihood(case: str, count: int, baseline_count: int) -> list[Row]:
    """``likelihood`` against K full sequences, batched."""
    asked = prepare("likelihood", count)
    mine, other = race(
        lambda: asked.scorer.answer(asked.part(count)), full_sequences(asked, baseline_count, BATCH)
    )
    tokens = asked.scorer.answer(asked.part(count))[1]
    return report(case, asked, count, mine, tokens, "full_sequences", other / baseline_count)


def generate(case: str, count: int) -> list[Row]:
    """``generate`` as it is used, its grammar and no retries, against batches in order of arrival."""
    asked = prepare("generate", count, retries=0)
    mine, other = race(lambda: asked.scorer.answer(asked.part(count)), generating(asked, count, BATCH))
    tokens = asked.scorer.answer(asked.part(count))[1]
    return report(case, asked, count, mine, tokens, "generate_batch", other / count)


def dtypes(case: str, count: int) -> list[Row]:
    """Matrix products and ``choice`` in float32 and bfloat16: which one is faster here."""
    rates = {name: speed.matmul_rate("cpu", name) for name in DTYPES}
    found = [Row(case, f"matmul_{name}", rate / 1e9, "GFLOP/s") for name, rate in rates.items()]
    both = [prepare("choice", count, name) for name in rates]
    full, half = race(*(lambda asked=asked: asked.scorer.answer(asked.part(count)) for asked in both))
    found.append(Row(case, "choice_float32", count / full, "prompts/s"))
    found.append(Row(case, "choice_bfloat16", count / half, "prompts/s", "choice_float32", full / half))
    return found


@torch.inference_mode()
def large(case: str, length: int, batch: int) -> list[Row]:
    """A random Mistral of the shape of 7B in bfloat16 on a GPU: its share of the matrix rate."""
    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.bfloat16)
    config = transformers.MistralConfig(sliding_window=None, attn_implementation="sdpa")
    model = transformers.MistralForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    torch.set_default_device("cpu")
    from ialp_jax.llm.prompting.tokens import TitleTokens, build_rows

    tokens = TitleTokens(
        np.arange(3, 3 + length, dtype=np.int64),
        np.arange(K + 1) + 1000,
        np.array([0, *range(K + 2)], np.int64),
    )
    names = np.broadcast_to(np.arange(1, K + 2), (batch, K + 1))
    rows = build_rows(tokens, Prompts(np.zeros((batch, 1), np.int64), names), 0)
    began = time.perf_counter()
    (seconds,) = race(lambda: letter_scores(model, rows).cpu())
    share = operations(model, [length] * batch) / seconds / speed.matmul_rate("cuda", "bfloat16")
    return [
        Row(case, "prompts_per_second", batch / seconds, "prompts/s"),
        Row(case, "tokens_per_second", batch * length / seconds, "tokens/s"),
        Row(case, "share_of_matmul_rate", share, ""),
        Row(case, "measured_seconds", time.perf_counter() - began, "s"),
    ]

"""Fine-tuning by LoRA (arXiv 2106.09685) on what offline users liked next; torch.

A training prompt is one of the label stage's, with the user's next like at a random place among items that
the user never liked. The loss is the conditional logit (McFadden 1974): cross-entropy of the right answer
over the scores of all answers, which are those that the label stage compares (`Scorer.alternatives`).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig, TuneConfig
from ialp_jax.llm.lora.tuning_prompts import NONE, PromptSource, TuningPrompts
from ialp_jax.llm.model import adapters, self_check, torch_checkpoint
from ialp_jax.llm.model.corpus import split_offline
from ialp_jax.llm.model.embedded import learning_rate
from ialp_jax.llm.model.models import Scorer
from ialp_jax.llm.prompting import alike
from ialp_jax.llm.prompting import prompts as prompts_of
from ialp_jax.llm.prompting.lengths import NUM_HELD_OUT  # standard error at most 2.2 %
from ialp_jax.types import Dataset

LOG_POINTS = 100  # mean losses in the log
RESAMPLES = 2000  # of the users, for the intervals
MAX_GRADIENT_NORM = 1.0
WITHOUT_NONE = ("likelihood",)  # modes in which none is no answer of the model's own


def tune(
    folder: Path,
    model_folder: Path,
    dataset: Dataset,
    config: LLMConfig,
    *,
    seed: int,
    history_length: int,
    num_candidates: int,
    key: str,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> dict[str, Any]:
    """Tunes a model and saves the adapter.

    Args:
      folder: gets the adapter; while tuning, a checkpoint from which a killed tuning goes on, with the same
        result bit for bit on a CPU with as many threads.
      model_folder: of the model.
      dataset: its offline users are read, no others.
      config: of the LLM.
      seed: fixes the result.
      history_length: L of the label stage.
      num_candidates: K of the label stage, unless ``config.tune.negatives`` says otherwise.
      key: digest of all that fixes the result; a checkpoint of another key is not used.
      progress: called after each step with the step and its loss.

    Returns:
      The log: losses over steps, held-out accuracy before and after, seconds.

    Raises:
      InputError: as the settings or the memory make tuning impossible.
    """
    began = time.monotonic()
    untuned = dataclasses.replace(config, dtype=config.tune.dtype, adapter="")
    template = prompts_of.choose(config.template, embedded=not config.model)
    scorer = Scorer(model_folder, dataset.catalogue.titles, template, untuned)
    shape = {
        "history_length": history_length,
        "num_candidates": (config.tune.negatives or num_candidates - 1) + 1,
    }
    source, held_out = _sources(dataset, config, seed, shape)
    _check_scores(scorer, config, (history_length, shape["num_candidates"]))
    before = measure(scorer, held_out, config.tune.batch_size)
    torch.manual_seed(int(keys.generator(seed, "llm-tune-init").integers(2**63)))
    tuned = adapters.add(scorer.model, config.tune, config.model or str(model_folder))
    trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.tune.learning_rate, weight_decay=0.0)
    saved = torch_checkpoint.restore(folder, key, [optimiser])
    if saved:
        adapters.restore(tuned, saved.tensors)
    done = saved.progress if saved else {"losses": [], "seconds": 0.0}

    def save(losses: list[float]) -> None:
        now = {"losses": losses, "seconds": done["seconds"] + time.monotonic() - began}
        torch_checkpoint.save(folder, key, adapters.state(tuned), [optimiser], now)

    losses = _optimise(scorer, source, optimiser, config.tune, seed, done["losses"], save, progress)
    after = measure(scorer, held_out, config.tune.batch_size)
    adapters.save(tuned, folder)
    torch_checkpoint.remove(folder)
    return {
        "parameters": sum(parameter.numel() for parameter in trained),
        "users": len(source.users),
        "steps": config.tune.steps,
        **shape,
        "loss": curve(losses),
        "held_out": compare(held_out, before, after, seed),
        "seconds": round(done["seconds"] + time.monotonic() - began, 1),
    }


def _sources(
    dataset: Dataset, config: LLMConfig, seed: int, shape: dict[str, int]
) -> tuple[PromptSource, TuningPrompts]:
    """Where training prompts come from, and the held-out prompts: one of each user, or equally many."""
    users, others = split_offline(dataset, config.tune.holdout, seed)
    if not config.model:  # of whom the embedded model has not read either; they are among the others
        others = split_offline(dataset, config.embedded.holdout, seed)[1]
    template = prompts_of.choose(config.template, embedded=not config.model)
    same = alike.groups(dataset.catalogue.titles, template, config.mode not in WITHOUT_NONE)
    common = {**shape, "negative_sampling": config.tune.negative_sampling, "alike": same}
    share = 0.0 if config.mode in WITHOUT_NONE else config.tune.none_share
    source = PromptSource(dataset, users, none_share=share, **common)
    held_out = PromptSource(dataset, others, **common)
    generator = keys.generator(seed, "llm-tune-held-out")
    asked = generator.permutation(held_out.users)[:NUM_HELD_OUT]
    return source, held_out.about(generator, np.tile(asked, -(-NUM_HELD_OUT // len(asked))))


def _check_scores(scorer: Scorer, config: LLMConfig, shape: tuple[int, int]) -> None:
    """Refuses a model whose scores in the packed rows of the loss are not its own."""
    scorer.check(shape)
    if not self_check.is_exact(scorer, shape, tuning=True):
        raise InputError(
            f"--config.llm.model={config.model}: {type(scorer.model).__name__} takes no mask per token, "
            f"without which it cannot be tuned by {config.mode}"
        )


def loss_of(scorer: Scorer, prompts: TuningPrompts) -> torch.Tensor:
    """Mean negative log-probability of the right answers, in nats, differentiable."""
    scores = scorer.alternatives(prompts.histories, prompts.candidates)
    none = prompts.candidates.shape[1]  # the last column
    target = np.where(prompts.answer == NONE, none, prompts.answer - 1)
    return functional.cross_entropy(scores, torch.from_numpy(target).long().to(scores.device))


def _optimise(
    scorer: Scorer,
    source: PromptSource,
    optimiser: torch.optim.Optimizer,
    config: TuneConfig,
    seed: int,
    losses: list[float],
    save: Callable[[list[float]], None],
    progress: Callable[[int, float], None],
) -> list[float]:
    """Takes the steps that are not done yet, in place; returns the losses of all.

    A step's prompts and dropout depend on its number alone, so that where a process ended leaves no trace.
    """
    if config.gradient_checkpointing:
        scorer.model.gradient_checkpointing_enable({"use_reentrant": False})
    scorer.model.train()
    losses = list(losses)
    for step in range(len(losses), config.steps):
        generator = keys.generator(seed, "llm-tune", step)
        torch.manual_seed(int(generator.integers(2**63)))
        losses.append(_step(scorer, source.draw(generator, config.batch_size), optimiser, config, step))
        progress(step + 1, losses[-1])
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save(losses)
    scorer.model.eval()
    return losses


def _step(
    scorer: Scorer, prompts: TuningPrompts, optimiser: torch.optim.Optimizer, config: TuneConfig, step: int
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, config)
    optimiser.zero_grad()
    try:
        loss = loss_of(scorer, prompts)
        loss.backward()
    except torch.OutOfMemoryError:
        raise InputError(
            f"--config.llm.tune.batch_size={config.batch_size}: out of memory; use a smaller one, or "
            "--config.llm.tune.gradient_checkpointing"
        ) from None
    value = loss.item()
    if not math.isfinite(value):
        raise InputError(
            f"--config.llm.tune.learning_rate={config.learning_rate}: the loss is {value} at step {step + 1};"
            " use a lower one"
        )
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    optimiser.step()
    return value


def curve(losses: list[float]) -> list[list[float]]:
    """Mean losses over equal stretches of steps, each with the step at which it ends."""
    ends = np.unique(np.linspace(0, len(losses), min(len(losses), LOG_POINTS) + 1).round().astype(int))
    return [[int(b), float(np.mean(losses[a:b]))] for a, b in itertools.pairwise(ends)]


class Measured(NamedTuple):
    """How a model answers P prompts at label time.

    Attributes:
      hit: float64 [P], 1 where it prefers the user's own item.
      loss: mean of what tuning minimises, in nats.
    """

    hit: np.ndarray
    loss: float


@torch.inference_mode()
def measure(scorer: Scorer, prompts: TuningPrompts, batch_size: int) -> Measured:
    """Asks the model as the label stage does, and takes the loss in batches."""
    answers, _ = scorer.answer(prompts.histories, prompts.candidates)
    total = 0.0
    for start in range(0, len(prompts.answer), batch_size):
        part = TuningPrompts(*(array[start : start + batch_size] for array in prompts))
        total += loss_of(scorer, part).item() * len(part.answer)
    return Measured((answers.choice == prompts.answer).astype(np.float64), total / len(prompts.answer))


def compare(prompts: TuningPrompts, before: Measured, after: Measured, seed: int) -> dict[str, Any]:
    """Means over the held-out prompts, with 95 % percentile-bootstrap intervals over users.

    ``gain`` is the paired difference of the accuracies.
    """
    users, owner = np.unique(prompts.user, return_inverse=True)
    told: dict[str, Any] = {
        "users": len(users),
        "prompts": len(prompts.user),
        "chance": 1 / prompts.candidates.shape[1],
        "loss_before": before.loss,
        "loss_after": after.loss,
    }
    drawn = keys.generator(seed, "llm-tune-bootstrap").integers(len(users), size=(RESAMPLES, len(users)))
    hits = {"accuracy_before": before.hit, "accuracy_after": after.hit, "gain": after.hit - before.hit}
    for name, values in hits.items():
        means = np.bincount(owner, values) / np.bincount(owner)  # as many prompts of each user
        told[name] = float(means.mean())
        told[f"{name}_interval"] = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975]).tolist()
    return told

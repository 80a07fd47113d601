"""Fine-tunes the LLM by LoRA (arXiv 2106.09685) on the next likes of offline users. Needs torch.

A training prompt has the same form as the prompts of the label stage. Its candidates are the user's next like
and items that the user never liked, in random order. The loss is the conditional logit (McFadden 1974): the
cross-entropy of the right answer over the scores of all possible answers. The label stage compares the same
scores (`Scorer.alternatives`).

The random streams keep their old names, which begin with ``llm-tune``, so that old results can be reproduced.
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
from ialp_jax.data.splits import split_offline
from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig, LoraConfig
from ialp_jax.llm.engines.transformers_engine import TransformersEngine
from ialp_jax.llm.lora.training_prompts import NONE, PromptSampler, TrainingPrompts
from ialp_jax.llm.model import adapters, self_check, torch_checkpoint
from ialp_jax.llm.model.embedded import learning_rate
from ialp_jax.llm.prompting import alike, templates
from ialp_jax.llm.prompting.lengths import NUM_HELD_OUT
from ialp_jax.types import Dataset

LOG_POINTS = 100  # maximum number of mean losses in the log.
RESAMPLES = 2000  # number of bootstrap resamples of the users
MAX_GRADIENT_NORM = 1.0
WITHOUT_NONE = ("likelihood",)  # modes without a "none" answer


def fine_tune(
    folder: Path,
    model_folder: Path,
    dataset: Dataset,
    config: LLMConfig,
    *,
    seed: int,
    history_length: int,
    num_candidates: int,
    fingerprint: str,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> dict[str, Any]:
    """Trains an adapter for a model and saves the adapter.

    Args:
      folder: folder for checkpoints during the training, and for the adapter at the end. A killed fine-tuning
        continues from its last checkpoint. On a CPU with the same number of threads, its result is
        bit-identical to that of a fine-tuning without interruption.
      model_folder: folder of the model.
      dataset: the data set; only its offline users are used.
      config: settings of the LLM.
      seed: fixes the result.
      history_length: L of the label stage.
      num_candidates: K of the label stage; ``config.lora.negatives`` overrides it.
      fingerprint: fingerprint of everything that determines the result. A checkpoint with a different
        fingerprint is ignored.
      progress: function that is called after each step, with the number of the step and its loss.

    Returns:
      The log: losses over steps, held-out accuracy before and after training, seconds.

    Raises:
      InputError: if the settings are invalid or the memory is too small.
    """
    start_time = time.monotonic()
    without_adapter = dataclasses.replace(config, dtype=config.lora.dtype, adapter="")
    template = templates.choose(config.template, embedded=not config.model)
    engine = TransformersEngine(model_folder, dataset.catalogue.titles, template, without_adapter)
    shape = {
        "history_length": history_length,
        "num_candidates": (config.lora.negatives or num_candidates - 1) + 1,
    }
    source, held_out = _sources(dataset, config, seed, shape)
    _check_scores(engine, config, (history_length, shape["num_candidates"]))
    before = measure(engine, held_out, config.lora.batch_size)
    torch.manual_seed(int(keys.generator(seed, "llm-tune-init").integers(2**63)))
    adapted = adapters.add(engine.model, config.lora, config.model or str(model_folder))
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.lora.learning_rate, weight_decay=0.0)
    saved = torch_checkpoint.restore(folder, fingerprint, [optimiser])
    if saved:
        adapters.restore(adapted, saved.tensors)
    earlier: dict[str, Any] = saved.progress if saved else {"losses": [], "seconds": 0.0}

    def save(losses: list[float]) -> None:
        now = {"losses": losses, "seconds": earlier["seconds"] + time.monotonic() - start_time}
        torch_checkpoint.save(folder, fingerprint, adapters.state(adapted), [optimiser], now)

    losses = _optimise(engine, source, optimiser, config.lora, seed, earlier["losses"], save, progress)
    after = measure(engine, held_out, config.lora.batch_size)
    adapters.save(adapted, folder)
    torch_checkpoint.remove(folder)
    return {
        "parameters": sum(parameter.numel() for parameter in trained),
        "users": len(source.users),
        "steps": config.lora.steps,
        **shape,
        "loss": curve(losses),
        "held_out": compare(held_out, before, after, seed),
        "seconds": round(earlier["seconds"] + time.monotonic() - start_time, 1),
    }


def _sources(
    dataset: Dataset, config: LLMConfig, seed: int, shape: dict[str, int]
) -> tuple[PromptSampler, TrainingPrompts]:
    """Returns the sampler of training prompts, and the held-out prompts, equally many for each user."""
    users, others = split_offline(dataset, config.lora.holdout, seed)
    if not config.model:
        # Neither the embedded model nor LoRA trains on these users.
        others = split_offline(dataset, config.embedded.holdout, seed)[1]
    template = templates.choose(config.template, embedded=not config.model)
    same = alike.groups(dataset.catalogue.titles, template, config.mode not in WITHOUT_NONE)
    common: dict[str, Any] = {**shape, "negative_sampling": config.lora.negative_sampling, "alike": same}
    share = 0.0 if config.mode in WITHOUT_NONE else config.lora.none_share
    source = PromptSampler(dataset, users, none_share=share, **common)
    held_out = PromptSampler(dataset, others, **common)
    generator = keys.generator(seed, "llm-tune-held-out")
    # With `NUM_HELD_OUT` prompts, the accuracy has a standard error of at most 2.2 %.
    chosen_users = generator.permutation(held_out.users)[:NUM_HELD_OUT]
    return source, held_out.about(generator, np.tile(chosen_users, -(-NUM_HELD_OUT // len(chosen_users))))


def _check_scores(engine: TransformersEngine, config: LLMConfig, shape: tuple[int, int]) -> None:
    """Raises InputError if the fast method, which the loss needs, is not exact for this model."""
    engine.check(shape)
    if not self_check.is_exact(engine, shape, lora=True):
        raise InputError(
            f"--config.llm.model={config.model}: {type(engine.model).__name__} takes no mask per token, "
            f"so LoRA cannot train it for {config.mode}"
        )


def loss_of(engine: TransformersEngine, batch: TrainingPrompts) -> torch.Tensor:
    """Mean negative log-probability of the right answers, in nats; differentiable."""
    scores = engine.alternatives(batch.prompts)
    none = batch.prompts.candidates.shape[1]  # "none" is the last column
    target = np.where(batch.answer == NONE, none, batch.answer - 1)
    return functional.cross_entropy(scores, torch.from_numpy(target).long().to(scores.device))


def _optimise(
    engine: TransformersEngine,
    source: PromptSampler,
    optimiser: torch.optim.Optimizer,
    config: LoraConfig,
    seed: int,
    losses: list[float],
    save: Callable[[list[float]], None],
    progress: Callable[[int, float], None],
) -> list[float]:
    """Trains the model in place for the remaining steps. Returns the losses of all steps.

    The prompts and the dropout of a step depend only on the seed and the number of the step. So an
    interruption does not change the result.
    """
    if config.gradient_checkpointing:
        engine.model.gradient_checkpointing_enable({"use_reentrant": False})
    engine.model.train()
    losses = list(losses)
    for step in range(len(losses), config.steps):
        generator = keys.generator(seed, "llm-tune", step)
        torch.manual_seed(int(generator.integers(2**63)))
        losses.append(_step(engine, source.draw(generator, config.batch_size), optimiser, config, step))
        progress(step + 1, losses[-1])
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save(losses)
    engine.model.eval()
    return losses


def _step(
    engine: TransformersEngine,
    batch: TrainingPrompts,
    optimiser: torch.optim.Optimizer,
    config: LoraConfig,
    step: int,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, config)
    optimiser.zero_grad()
    try:
        loss = loss_of(engine, batch)
        loss.backward()
    except torch.OutOfMemoryError:
        raise InputError(
            f"--config.llm.lora.batch_size={config.batch_size}: out of memory; use a smaller one, or "
            "--config.llm.lora.gradient_checkpointing"
        ) from None
    value = loss.item()
    if not math.isfinite(value):
        raise InputError(
            f"--config.llm.lora.learning_rate={config.learning_rate}: the loss is {value} at step {step + 1};"
            " use a lower one"
        )
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    optimiser.step()
    return value


def curve(losses: list[float]) -> list[list[float]]:
    """Returns [last step, mean loss] for each of at most `LOG_POINTS` equal intervals of steps."""
    ends = np.unique(np.linspace(0, len(losses), min(len(losses), LOG_POINTS) + 1).round().astype(int))
    return [[int(b), float(np.mean(losses[a:b]))] for a, b in itertools.pairwise(ends)]


class Measured(NamedTuple):
    """Accuracy and loss of a model on P held-out prompts, in the mode of the label stage.

    Attributes:
      hit: float64 [P], 1 if the model prefers the user's own item.
      loss: mean training loss on these prompts, in nats.
    """

    hit: np.ndarray
    loss: float


@torch.inference_mode()
def measure(engine: TransformersEngine, held_out: TrainingPrompts, batch_size: int) -> Measured:
    """Lets the model answer held-out prompts as in the label stage, and computes its loss in batches."""
    answers, _ = engine.answer(held_out.prompts)
    total = 0.0
    for start in range(0, len(held_out.answer), batch_size):
        part = held_out.rows(slice(start, start + batch_size))
        total += loss_of(engine, part).item() * len(part.answer)
    return Measured((answers.choice == held_out.answer).astype(np.float64), total / len(held_out.answer))


def compare(held_out: TrainingPrompts, before: Measured, after: Measured, seed: int) -> dict[str, Any]:
    """Computes means over the held-out prompts, with 95 % percentile bootstrap intervals over users.

    ``gain`` is the paired difference between the accuracy after and before training.
    """
    users, owner = np.unique(held_out.user, return_inverse=True)
    results: dict[str, Any] = {
        "users": len(users),
        "prompts": len(held_out.user),
        "chance": 1 / held_out.prompts.candidates.shape[1],
        "loss_before": before.loss,
        "loss_after": after.loss,
    }
    drawn = keys.generator(seed, "llm-tune-bootstrap").integers(len(users), size=(RESAMPLES, len(users)))
    hits = {"accuracy_before": before.hit, "accuracy_after": after.hit, "gain": after.hit - before.hit}
    for name, values in hits.items():
        means = np.bincount(owner, values) / np.bincount(owner)  # equally many prompts per user
        results[name] = float(means.mean())
        results[f"{name}_interval"] = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975]).tolist()
    return results

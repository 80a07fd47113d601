"""The embedded model: a small but real Mistral with its own tokenizer, trained on the offline users.

Like Mistral 7B (arXiv 2310.06825), the embedded model has rotary positions and grouped-query attention. It
uses the Mistral code and file format of transformers; only the sizes differ. The training text looks like the
prompts: liked titles, one per line. The loss is the mean negative log-likelihood of the next token.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional

from ialp_jax import store
from ialp_jax.data.splits import split_offline
from ialp_jax.errors import InputError
from ialp_jax.llm.config import EmbeddedConfig, LoraConfig
from ialp_jax.llm.model import corpus as corpora
from ialp_jax.llm.model import torch_checkpoint
from ialp_jax.llm.model.muon import Muon
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.llm.prompting.tokens import TitleTokens, tokenise
from ialp_jax.types import Catalogue, Dataset

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
WARMUP = 0.05  # share of the steps
WEIGHT_DECAY = 0.1
SAVE_SECONDS = 30.0  # Time between checkpoints. Saving 0.7 M parameters (10 MB) takes 10 ms.
LOG_POINTS = 20  # Number of mean losses in the log.


def train_tokenizer(
    catalogue: Catalogue, template: Template, vocabulary: int
) -> transformers.PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on the catalogue's lines; a line end is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = [template.line(title) for title in catalogue.titles[1:]]
    tokenizer.train_from_iterator([template.introduction, *lines], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )


def build_model(
    config: EmbeddedConfig, tokenizer: transformers.PreTrainedTokenizerFast
) -> transformers.MistralForCausalLM:
    """A randomly initialised Mistral of the configured size, with tied embeddings."""
    model = transformers.MistralForCausalLM(
        transformers.MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=3 * config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads // 2,
            max_position_embeddings=config.context,
            sliding_window=None,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # The usual standard deviation 0.02 suits wide models. With it, a small model with tied embeddings would
    # train more slowly.
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(config.hidden**-0.5 / model.config.initializer_range)
    return model


def build_optimisers(model: transformers.MistralForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the decoder's matrices, AdamW for embeddings and norms.

    With the same number of tokens, Muon reaches a lower loss than AdamW. Our Muon is the variant of arXiv
    2502.16982, whose steps are as large as AdamW's.
    """
    matrices = [p for p in model.model.layers.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def learning_rate(step: int, config: EmbeddedConfig | LoraConfig) -> float:
    """Linear warm-up, then cosine decay to 0 (arXiv 1608.03983 without restarts)."""
    warmup = max(1, round(WARMUP * config.steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return (
        config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))
    )


def loss_of(model: transformers.MistralForCausalLM, batch: corpora.Corpus, reduction: str) -> torch.Tensor:
    """Cross-entropy of packed rows. If positions restart, transformers treats the rest as a new segment."""
    ids, position, target = (torch.from_numpy(array) for array in batch)
    hidden = model.model(input_ids=ids, position_ids=position, use_cache=False).last_hidden_state
    taught = target.flatten() != corpora.IGNORED
    logits = model.lm_head(hidden.flatten(0, 1)[taught])
    return functional.cross_entropy(logits, target.flatten()[taught], reduction=reduction)


def batches(
    tokens: TitleTokens, dataset: Dataset, users: Any, config: EmbeddedConfig, padding: int, seed: int
) -> Iterator[corpora.Corpus]:
    """Yields training batches without end, epoch after epoch."""
    index = 0
    while True:
        rows = corpora.epoch(tokens, dataset, users, config, padding, seed=seed, index=index)
        for start in range(0, max(1, len(rows.ids) - config.batch_size + 1), config.batch_size):
            yield corpora.Corpus(*(array[start : start + config.batch_size] for array in rows))
        index += 1


@torch.inference_mode()
def held_out_loss(model: transformers.MistralForCausalLM, rows: corpora.Corpus, batch_size: int) -> float:
    """Mean negative log-likelihood per token, in nats."""
    total = 0.0
    for start in range(0, len(rows.ids), batch_size):
        part = corpora.Corpus(*(array[start : start + batch_size] for array in rows))
        total += loss_of(model, part, "sum").item()
    return total / max(1, int((rows.target != corpora.IGNORED).sum()))


def _optimise(
    model: transformers.MistralForCausalLM,
    stream: Iterator[corpora.Corpus],
    config: EmbeddedConfig,
    progress: Callable[[int, float], None],
    folder: Path,
    fingerprint: str,
) -> tuple[list[float], int]:
    """Trains in place, from the last checkpoint on. Returns all losses and the number of predicted tokens."""
    optimisers, losses, num_predicted = build_optimisers(model), [], 0
    saved = torch_checkpoint.restore(folder, fingerprint, optimisers)
    if saved:
        model.load_state_dict(saved.tensors)
        losses, num_predicted = saved.progress["losses"], saved.progress["seen"]
    clock, done = time.monotonic(), len(losses)
    for step, batch in zip(range(done, config.steps), itertools.islice(stream, done, None), strict=False):
        loss = loss_of(model, batch, "mean")
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, config)
            optimiser.step()
        num_predicted += int((batch.target != corpora.IGNORED).sum())
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise InputError(
                f"--config.llm.embedded.learning_rate={config.learning_rate}: the loss is {losses[-1]} "
                f"at step {step + 1}; use a lower one"
            )
        progress(step + 1, losses[-1])
        if time.monotonic() - clock >= SAVE_SECONDS:
            now = {"losses": losses, "seen": num_predicted}
            torch_checkpoint.save(folder, fingerprint, model.state_dict(), optimisers, now)
            clock = time.monotonic()
    return losses, num_predicted


def checkpoints_of(folder: Path) -> Path:
    """Folder for the checkpoints of the training that writes its result to ``folder``."""
    return folder.with_name(f"{folder.name}-training")


def train(
    folder: Path,
    dataset: Dataset,
    template: Template,
    config: EmbeddedConfig,
    seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    fingerprint: str = "",
) -> dict[str, Any]:
    """Trains the embedded model and saves it with its tokenizer in the Hugging Face format.

    Args:
      folder: output folder; an existing folder is replaced.
      dataset: only its offline users are used.
      template: the text around titles, the same as in the label stage.
      config: sizes and budget.
      seed: the same seed and the same number of threads give the same result.
      progress: called after each step with the step and its loss.
      fingerprint: fingerprint of everything that determines the result. If a training with this fingerprint
        was killed, it continues from its last checkpoint. The checkpoints are in the folder that
        `checkpoints_of` returns. The caller deletes this folder at the end.

    Returns:
      The training log: losses over steps, held-out loss, seconds, tokens.

    Raises:
      InputError: the loss is not finite.
    """
    started = time.monotonic()
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(dataset.catalogue, template, config.vocabulary)
    model = build_model(config, tokenizer).train()
    tokens = tokenise(tokenizer, dataset.catalogue.titles, template, config.context)
    padding = tokenizer.pad_token_id
    users, held_out = split_offline(dataset, config.holdout, seed)
    stream = batches(tokens, dataset, users, config, padding, seed)
    losses, num_predicted = _optimise(model, stream, config, progress, checkpoints_of(folder), fingerprint)
    rows = corpora.pack(tokens, [dataset.histories.of(user) for user in held_out], config.context, padding)
    every = max(1, config.steps // LOG_POINTS)
    log = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "users": len(users),
        "held_out_users": len(held_out),
        "steps": config.steps,
        "tokens": num_predicted,
        "held_out_loss": held_out_loss(model.eval(), rows, config.batch_size),
        "loss": [
            [end, float(np.mean(losses[max(0, end - every) : end]))]
            for end in range(every, config.steps + 1, every)
        ],
    }
    log["seconds"] = round(time.monotonic() - started, 1)
    with store.replacing(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        store.seal(partial, {"recipe": fingerprint, "training": log})
    return log

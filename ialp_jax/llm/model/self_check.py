"""Compares fast scoring with the plain forward pass, on the longest possible prompts. Needs torch."""

from __future__ import annotations

import numpy as np
import torch
import transformers

from ialp_jax.errors import InputError
from ialp_jax.llm.model.scorer import Scorer
from ialp_jax.llm.model.weights import same
from ialp_jax.llm.modes import plain
from ialp_jax.llm.prompting.tokens import build_rows, cut_histories
from ialp_jax.types import Prompts

COMPARED = 3  # Number of candidates per prompt that are scored by both methods.
WRITTEN = 3  # Number of tokens of a free-text answer that are compared.
# Errors that a model raises if it does not accept our masks, positions or cache.
UNABLE = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError)


def hardest(scorer: Scorer, shape: tuple[int, int]) -> Prompts:
    """Makes two prompts for one batch: one as long as possible and one as short as possible.

    Args:
      scorer: loaded model with the catalogue.
      shape: L and K of both prompts.
    """
    length, num_candidates = shape
    tokens = scorer.asker.letters.tokens if scorer.asker else scorer.tokens
    by_length = np.argsort(-tokens.lengths()[1 : scorer.num_items + 1], kind="stable").astype(np.int32) + 1
    histories = np.zeros((2, length), np.int32)
    histories[0], histories[1, -1:] = np.resize(by_length, length), by_length[-1]
    candidates = np.stack([np.resize(by_length, num_candidates), np.resize(by_length[::-1], num_candidates)])
    for start in range(0, scorer.num_items, num_candidates):  # the longest titles that fit
        candidates[0] = np.resize(by_length[start:], num_candidates)
        if _fits(scorer, Prompts(histories[:1], candidates[:1])):
            break
    return Prompts(histories, candidates)


def _fits(scorer: Scorer, prompts: Prompts) -> bool:
    try:
        return scorer.asker is None or scorer.asker.cut(prompts) is not None
    except InputError:
        return False


def is_exact(scorer: Scorer, shape: tuple[int, int], lora: bool = False) -> bool:
    """Whether fast scoring gives the same scores as the plain forward pass.

    Args:
      scorer: its ``plain`` must be False.
      shape: L and K of the prompts that the model will get.
      lora: whether to compare the scores that LoRA uses instead of those that labelling uses.
    """
    prompts = hardest(scorer, shape)
    try:
        if scorer.asker is None:
            return _titles_are_same(scorer, prompts, lora)
        if scorer.mode == "generate" and not lora:
            return _texts_are_same(scorer, prompts)
        return _letters_are_same(scorer, prompts, lora)
    except torch.OutOfMemoryError:
        raise
    except UNABLE:
        return False


def _titles_are_same(scorer: Scorer, prompts: Prompts, lora: bool) -> bool:
    if lora:
        with torch.inference_mode():
            fast = scorer.alternatives(prompts)
    else:
        fast = torch.from_numpy(scorer.score(prompts)[0])
    some = np.unique(np.linspace(0, prompts.candidates.shape[1] - 1, COMPARED).round().astype(int))
    candidates = prompts.candidates[:, some]
    cut = cut_histories(scorer.tokens, prompts, scorer.limit)
    rows = build_rows(scorer.tokens, cut._replace(candidates=candidates), scorer.padding)
    right = plain.title_scores(scorer.model, rows, len(some)).cpu().numpy()
    right = torch.from_numpy(scorer.normalised(right, candidates))
    return same(fast[:, some], right, scorer.model.dtype)


def _letters_are_same(scorer: Scorer, prompts: Prompts, lora: bool) -> bool:
    asker = scorer.asker
    with torch.inference_mode():
        fast = asker.alternatives(prompts) if lora else asker.lines(prompts)
    before, asker.plain = asker.plain, True
    try:
        right = asker.lines(prompts)
    finally:
        asker.plain = before
    return same(fast, right, scorer.model.dtype)


@torch.inference_mode()
def _texts_are_same(scorer: Scorer, prompts: Prompts) -> bool:
    asker, model = scorer.asker, scorer.model
    ids, mask = asker.letters.padded(asker.cut(prompts))
    written = model.generate(
        input_ids=torch.from_numpy(ids).to(model.device),
        attention_mask=torch.from_numpy(mask).to(model.device),
        generation_config=transformers.GenerationConfig(
            max_new_tokens=WRITTEN,
            min_new_tokens=WRITTEN,
            do_sample=False,
            pad_token_id=scorer.padding,
            output_logits=True,
            return_dict_in_generate=True,
        ),
    )
    log_probs = torch.stack(written.logits, dim=1).float().log_softmax(-1)  # [2, WRITTEN, V]
    answers = written.sequences[:, ids.shape[1] :].cpu().numpy()
    return all(
        same(
            log_probs[p],
            plain.predictions(model, np.concatenate([ids[p][mask[p] == 1], answers[p][:-1]]), WRITTEN),
            model.dtype,
        )
        for p in range(len(ids))
    )

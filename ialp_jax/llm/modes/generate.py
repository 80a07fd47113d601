"""The mode ``generate``: greedy decoding (as in the paper) writes a short text, and `grammar` reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from ialp_jax.llm.modes import grammar
from ialp_jax.llm.modes.answers import CAUSES, Answers, shortened
from ialp_jax.llm.prompting import orders, thinking
from ialp_jax.llm.prompting.letters import LetteredTokens
from ialp_jax.types import Prompts


@torch.inference_mode()
def write(
    model: Any,
    tokenizer: Any,
    letters: LetteredTokens,
    prompts: Prompts,
    *,
    max_new_tokens: int,
    batch_size: int,
) -> tuple[list[str], int]:
    """The texts that the model writes after P prompts, in batches of similar length.

    Args:
      model, tokenizer: model and tokenizer of one folder.
      letters: the token blocks of the prompts.
      prompts: P prompts, candidates in the order of the lines.
      max_new_tokens: largest number of tokens per text.
      batch_size: prompts per call.

    Returns:
      P texts, and the number of tokens read.

    Raises:
      InputError: too many or too long candidates.
    """
    prompts = letters.cut(prompts, max_new_tokens)
    lengths = letters.lengths(prompts)
    order = np.argsort(-lengths, kind="stable")
    texts, spent, decode = [""] * len(order), 0, thinking.Decoder(tokenizer)
    greedy = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
    )
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        ids, mask = (torch.from_numpy(array).to(model.device) for array in letters.padded(prompts.rows(part)))
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=greedy)
        written = out[:, ids.shape[1] :]
        for p, text in zip(part, decode(written.tolist()), strict=True):
            texts[p] = text
        spent += int(mask.sum()) + written.numel()
    return texts, spent


def ask(
    write_to: Callable[[Prompts], tuple[list[str], int]],
    prompts: Prompts,
    seeds: Sequence[int],
    permutations: int,
    retries: int,
    none_text: str,
    opened: bool = False,
) -> tuple[Answers, int]:
    """Asks each of P prompts in R orders of its candidates. After an invalid answer, tries a further order.

    The score of a candidate is the share of the R answers that name it. The choice is the candidate (or
    "none") with the highest share. If several have this share, the choice is the one named in the earliest
    order. If no answer to a prompt is valid, `Answers.cause` is the cause of the last answer.

    Args:
      write_to: function that maps n prompts to n texts and the number of tokens read. The candidates of these
        prompts are in the order of the lines.
      prompts: P prompts.
      seeds: P numbers, from `ialp_jax.llm.prompting.orders.seeds`.
      permutations: R.
      retries: maximum number of further attempts after an invalid answer, for each of the R orders.
      none_text: text of the last line.
      opened: whether prompts end inside a block of thinking.
    """
    num_prompts, num_candidates = prompts.candidates.shape
    places = np.zeros((num_prompts, permutations, 1 + retries), np.int8)
    replies = np.full(places.shape, "", object)
    named = np.full((num_prompts, permutations), -1)  # candidate 0..K - 1, K "none", -1 invalid
    spent = 0
    for attempt in range(1 + retries):
        row, number = np.nonzero(named < 0)
        if not len(row):
            break
        asked, where = np.unique(row, return_inverse=True)
        drawn = orders.draw([seeds[p] for p in asked], num_candidates, permutations, attempt)[where, number]
        again = prompts.rows(row)
        texts, tokens = write_to(again._replace(candidates=np.take_along_axis(again.candidates, drawn, 1)))
        spent += tokens
        for p, r, order, text in zip(row, number, drawn, texts, strict=True):
            place, cause = grammar.parse(text, num_candidates, none_text, opened)
            replies[p, r, attempt] = shortened(text)
            places[p, r, attempt] = place or -CAUSES.index(cause)
            if place:
                named[p, r] = order[place - 1] if place <= num_candidates else num_candidates
    written = replies.reshape(num_prompts, -1).astype(np.str_)
    return count(named, places, num_candidates)._replace(replies=written), spent


def count(named: np.ndarray, places: np.ndarray, num_candidates: int) -> Answers:
    """Combines the named lines into answers.

    Args:
      named: int [P, R], candidate 0..K - 1, K for "none", -1 if no answer is valid.
      places: int8 [P, R, 1 + retries], as in `Answers`.
      num_candidates: K.
    """
    shares = (named[:, :, None] == np.arange(num_candidates + 1)).mean(axis=1, dtype=np.float32)
    support = np.where(named < 0, -1, np.take_along_axis(shares, named, axis=1))
    winner = np.take_along_axis(named, support.argmax(axis=1)[:, None], axis=1)[:, 0]
    choice = np.where(winner == num_candidates, 0, winner + 1)
    choice[winner < 0] = -1
    last = places[:, -1, -1]  # last answer to the last order
    return Answers.of(
        choice=choice.astype(np.int32),
        scores=shares[:, :-1],
        none=shares[:, -1],
        cause=np.where(winner < 0, -last, 0).astype(np.uint8),
        places=places.reshape(len(places), -1),
    )

"""In which order a prompt lists its candidates, and how much the order decides. numpy only.

Candidates come sorted by what their source thinks of them, and models favour some letters. So every prompt
lists its candidates in an order of its own: a random permutation whose seed is the prompt's content, the same
in any batch, run or catalogue. Asked under several permutations, a prompt's further orders are rotations of
the first: with as many permutations as candidates, each candidate bears each letter once, and what letters
add to a score falls out of its mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ialp_jax import keys
from ialp_jax.types import Prompts

_DIGEST_BYTES = 16


def title_digests(texts: Sequence[str]) -> np.ndarray:
    """Digests of N + 1 titles as they are shown, uint8 [N + 1, 16]."""
    digests = [hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES] for text in texts]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES)


def seeds(digests: np.ndarray, prompts: Prompts) -> list[int]:
    """A seed for each of P prompts. It depends only on the titles in the prompt.

    Args:
      digests: uint8 [N + 1, 16], from `title_digests`.
      prompts: P of them; padding leaves no trace.
    """
    return [
        int.from_bytes(
            hashlib.sha256(
                digests[history[history > 0]].tobytes() + b"|" + digests[offered].tobytes()
            ).digest()[:8]
        )
        for history, offered in zip(prompts.histories, prompts.candidates, strict=True)
    ]


def draw(prompt_seeds: Sequence[int], num_candidates: int, permutations: int, attempt: int = 0) -> np.ndarray:
    """Orders int64 [P, R, K]: at [p, r, l], which candidate, counted from 0, is on line l.

    Orders r = 0..K-1 are rotations of one random permutation, R of them evenly spaced; where R > K, the
    next K are rotations of another one, and so on.

    Args:
      prompt_seeds: P numbers, from `seeds`.
      num_candidates: K.
      permutations: R.
      attempt: each has its own permutations.
    """
    blocks = -(-permutations // num_candidates)
    number = np.arange(permutations)
    shift = number % num_candidates * num_candidates // min(permutations, num_candidates)
    lines = (np.arange(num_candidates) + shift[:, None]) % num_candidates
    out = np.empty((len(prompt_seeds), permutations, num_candidates), np.int64)
    for p, seed in enumerate(prompt_seeds):
        first = np.stack(
            [
                keys.generator(seed, "llm-order", attempt * blocks + block).permutation(num_candidates)
                for block in range(blocks)
            ]
        )
        out[p] = first[number // num_candidates][np.arange(permutations)[:, None], lines]
    return out


def order_bias(places: np.ndarray, num_candidates: int) -> dict[str, Any]:
    """How far letters decide, from answers to randomly ordered prompts.

    With s_l the share of line l among the valid answers that name a candidate, the bias is the total
    variation distance from the uniform distribution, 1/2 sum_l |s_l - 1/K|: 0 where all letters are chosen
    alike, 1 - 1/K where it is always the same one. An unbiased model's n answers give about
    sqrt((K - 1) / (2 pi n)) by chance (the mean deviation of a normal variable, K times).

    Args:
      places: int8 [P, A], as in `ialp_jax.llm.modes.answers.Answers`.
      num_candidates: K.

    Returns:
      ``bias``, ``by_chance``, ``answers`` n, and ``shares``, s_l for A, B, ...; None where n = 0.
    """
    counts = np.bincount(places[(places > 0) & (places <= num_candidates)], minlength=num_candidates + 1)[1:]
    total = int(counts.sum())
    if not total:
        return {"bias": None, "by_chance": None, "answers": 0, "shares": None}
    shares = counts / total
    return {
        "bias": float(np.abs(shares - 1 / num_candidates).sum() / 2),
        "by_chance": float(np.sqrt((num_candidates - 1) / (2 * np.pi * total))),
        "answers": total,
        "shares": shares.tolist(),
    }

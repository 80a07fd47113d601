"""Orders of a prompt's candidates, and a measure of how much the order affects the answers. numpy only.

The given candidates may be sorted by preference, and models favour some letters. So each prompt lists its
candidates in a random order. The random seed is computed from the titles in the prompt, so the same prompt
has the same order in any batch, run or catalogue.

If a prompt is asked in several orders, the further orders are rotations of the first one. If there are as
many orders as candidates, each candidate has each letter once. Then the effect of the letters cancels in the
mean score.
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
    """Digests of N + 1 titles as the prompts show them, uint8 [N + 1, 16]."""
    digests = [hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES] for text in texts]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES)


def seeds(digests: np.ndarray, prompts: Prompts) -> list[int]:
    """Random seeds of P prompts. The seed of a prompt depends only on the titles in the prompt.

    Args:
      digests: uint8 [N + 1, 16], from `title_digests`.
      prompts: P prompts; padding is ignored.
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
    """Orders int64 [P, R, K]: entry [p, r, l] is the candidate (0..K-1) on line l.

    If R <= K, the R orders are evenly spaced rotations of one random permutation. If R > K, the first K
    orders are all rotations of one permutation, the next K orders are rotations of another one, and so on.

    Args:
      prompt_seeds: P numbers, from `seeds`.
      num_candidates: K.
      permutations: R.
      attempt: number of the attempt; each attempt has its own permutations.
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
    """Measures how strongly a model prefers some letters when the candidates are in random order.

    Let s_l be the share of line l among the valid answers that name a candidate. The bias is the total
    variation distance from the uniform distribution, 1/2 sum_l |s_l - 1/K|. The bias is 0 if all letters are
    chosen equally often, and 1 - 1/K if the same letter is always chosen. By chance, n answers of an unbiased
    model have a bias of about sqrt((K - 1) / (2 pi n)): the sum over the K lines of half the mean absolute
    deviation of s_l, which is approximately normal.

    Args:
      places: int8 [P, A], as in `ialp_jax.llm.modes.answers.Answers`.
      num_candidates: K.

    Returns:
      ``bias``; ``by_chance``, the bias by chance; ``answers``, n; and ``shares``, the s_l for the letters A,
      B, and so on. If n = 0, all values except ``answers`` are None.
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

"""Orders of a prompt's candidates, and a measure of how much the order affects the answers. numpy only.

Label sources may list candidates by preference, and models favour some letters. So every prompt lists its
candidates in its own random order. The content of the prompt is the seed of its order, so the order is the
same in any batch, run or catalogue.

If a prompt is asked under several permutations, the further orders are rotations of the first. If the numbers
of permutations and candidates are equal, each candidate has each letter once. The effect of letters then
cancels in the mean score.
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
    """A seed for each of P prompts. It depends only on the titles in the prompt.

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

    Orders r = 0..K-1 are R evenly spaced rotations of one random permutation. If R > K, the next K orders are
    rotations of another permutation, and so on.

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
    """Measures how much letters decide the answers to randomly ordered prompts.

    Let s_l be the share of line l among the valid answers that name a candidate. The bias is the total
    variation distance from the uniform distribution, 1/2 sum_l |s_l - 1/K|. The bias is 0 if all letters are
    chosen equally often, and 1 - 1/K if the same letter is always chosen. By chance, n answers of an unbiased
    model have a bias of about sqrt((K - 1) / (2 pi n)) (K times the mean deviation of a normal variable).

    Args:
      places: int8 [P, A], as in `ialp_jax.llm.modes.answers.Answers`.
      num_candidates: K.

    Returns:
      ``bias``, ``by_chance``, ``answers`` n, and ``shares``, s_l for A, B, ...; None if n = 0.
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

"""Answers of a model to a batch of prompts, in one form for all modes. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Causes of invalid answers. `Answers.cause` holds indices into this tuple, so add new causes at the end.
CAUSES = ("valid", "non_finite", "no_letter", "out_of_range", "several", "empty", "refused", "thinking")
LONGEST_REPLY, HEAD = 240, 60  # characters of a stored reply; characters from its beginning


class Answers(NamedTuple):
    """Answers to n prompts of K candidates.

    Attributes:
      choice: int32 [n], the model's own choice: candidate 1..K, 0 none, -1 invalid.
      scores: float32 [n, K], one per candidate, higher is better: log-likelihood of its title
        (``likelihood``), log-probability of its letter (``choice``), share of the answers that name it
        (``generate``).
      none: float32 [n], the score of "none" on the same scale; -inf if the mode has no such score.
      cause: uint8 [n], index into `CAUSES`; 0 if the choice is valid.
      places: int8 [n, A]; in lettered modes, the model answers each prompt up to A times, and each answer has
        one entry. The entry is the line 1..K that the answer names, K + 1 for "none", or -c for an invalid
        answer with cause c. It is 0 if the prompt was not asked again. A is 0 for ``likelihood``.
      replies: str [n, A], the text of each answer, see `shortened`; empty if the model wrote no text.
    """

    choice: np.ndarray
    scores: np.ndarray
    none: np.ndarray
    cause: np.ndarray
    places: np.ndarray
    replies: np.ndarray

    @classmethod
    def of(
        cls, choice: np.ndarray, scores: np.ndarray, none: np.ndarray, cause: np.ndarray, places: np.ndarray
    ) -> Answers:
        """Makes `Answers` with empty replies, for modes in which the model writes no text."""
        return cls(choice, scores, none, cause, places, unwritten(places))

    @classmethod
    def empty(cls, num_candidates: int) -> Answers:
        """Makes answers to no prompts."""
        return cls.of(
            np.zeros(0, np.int32),
            np.zeros((0, num_candidates), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.uint8),
            np.zeros((0, 0), np.int8),
        )

    @classmethod
    def joined(cls, batches: Sequence[Answers], order: np.ndarray) -> Answers:
        """Joins the answers to batches. ``order`` int64 [n] holds the prompts of all batches in sequence."""
        position = np.argsort(order)
        return cls(*(np.concatenate(column)[position] for column in zip(*batches, strict=True)))

    @classmethod
    def from_scores(cls, scores: np.ndarray) -> Answers:
        """Chooses the candidate with the highest score (the first if equal); invalid if one is not finite."""
        finite = np.isfinite(scores).all(axis=1)
        best = np.where(finite[:, None], scores, 0).argmax(axis=1) + 1
        return cls.of(
            np.where(finite, best, -1).astype(np.int32),
            scores.astype(np.float32),
            np.full(len(scores), -np.inf, np.float32),
            np.where(finite, CAUSES.index("valid"), CAUSES.index("non_finite")).astype(np.uint8),
            np.zeros((len(scores), 0), np.int8),
        )


def unwritten(places: np.ndarray) -> np.ndarray:
    """Empty replies in the shape of ``places`` [n, A]."""
    return np.full(places.shape, "", "<U1")


def shortened(reply: str) -> str:
    """Shortens a reply to ``LONGEST_REPLY`` characters: keeps its beginning and its end."""
    if len(reply) <= LONGEST_REPLY:
        return reply
    gap = " ... "
    return reply[:HEAD] + gap + reply[HEAD + len(gap) - LONGEST_REPLY :]

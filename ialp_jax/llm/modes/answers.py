"""What a model says to a batch of prompts, the same words for every way of asking. numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Why an answer is no label; the place in this tuple is what `Answers.cause` holds, so only append.
CAUSES = ("valid", "non_finite", "no_letter", "out_of_range", "several", "empty", "refused", "thinking")
LONGEST_REPLY, HEAD = 240, 60  # characters of a reply that are kept, and how many of them are its first


class Answers(NamedTuple):
    """Answers to n prompts of K candidates.

    Attributes:
      choice: int32 [n], what the model itself prefers: candidate 1..K, 0 none, -1 invalid.
      scores: float32 [n, K], of each candidate, higher is better: log-likelihood of its title
        (``likelihood``), log-probability of its letter (``choice``), share of the answers that name it
        (``generate``).
      none: float32 [n], the score of "none" on the same scale; -inf where the way of asking has none.
      cause: uint8 [n], index into `CAUSES`; 0 exactly where ``choice`` is not -1.
      places: int8 [n, A], what each asking of a prompt brought, where the candidates bear letters: the line
        that was named, 1..K, or K + 1 for "none"; -c for an answer that is invalid by cause c; 0 where it
        was not asked again. A is 0 for ``likelihood``.
      replies: str [n, A], what the model wrote at each asking, see `shortened`; empty where it wrote nothing.
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
        """Answers of a model that wrote no text."""
        return cls(choice, scores, none, cause, places, unwritten(places))

    @classmethod
    def empty(cls, num_candidates: int) -> Answers:
        """Answers to no prompts."""
        return cls.of(
            np.zeros(0, np.int32),
            np.zeros((0, num_candidates), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.uint8),
            np.zeros((0, 0), np.int8),
        )

    @classmethod
    def from_scores(cls, scores: np.ndarray) -> Answers:
        """The candidate of the highest score (the first of equals), where all K scores are finite."""
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
    """No replies, as many as ``places`` [n, A] has askings."""
    return np.full(places.shape, "", "<U1")


def shortened(reply: str) -> str:
    """A reply of at most ``LONGEST_REPLY`` characters: of a longer one the beginning and the end."""
    if len(reply) <= LONGEST_REPLY:
        return reply
    gap = " ... "
    return reply[:HEAD] + gap + reply[HEAD + len(gap) - LONGEST_REPLY :]

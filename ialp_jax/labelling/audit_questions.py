"""Draws the questions of the audit: which of these candidates did the user really take? numpy only.

A question consists of a history and candidates. The history holds likes of a tuning user, because audits
guide choices: settings, titles, models. So no audit ever asks about an evaluation user.
This user took some of the candidates and did not take the others. The *exchanged* question has the same
candidates, but the history of another user. If the model chooses the taken item in both questions, its answer
does not depend on the history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import AuditConfig
from ialp_jax.llm.prompting.alike import apart, different
from ialp_jax.types import TUNING, Dataset, Interactions

PROMPT_CANDIDATES = 25  # maximum number of candidates per prompt; one of the 26 letters is for "none"


class Questions(NamedTuple):
    """Q questions, one per user, in ascending order of the users.

    Attributes:
      user: int32 [Q].
      known: int32 [Q], number of the user's likes from which the history was taken.
      histories: int32 [Q, L], oldest first, left-padded with 0.
      exchanged: int32 [Q, L], the history of another user, without items that are candidates.
      candidates: int32 [Q, K], in random order, padded with 0 at the end.
      relevant: bool [Q, K], whether the user took the candidate.
    """

    user: np.ndarray
    known: np.ndarray
    histories: np.ndarray
    exchanged: np.ndarray
    candidates: np.ndarray
    relevant: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Number of candidates of each question, int64 [Q]."""
        return (self.candidates > 0).sum(axis=1)


class _Question(NamedTuple):
    """A question: any number of earlier likes, K candidates, and whether the user took each candidate."""

    before: np.ndarray
    candidates: np.ndarray
    relevant: np.ndarray


def draw(
    dataset: Dataset,
    config: AuditConfig,
    length: int,
    lettered: bool,
    seed: int,
    alike: np.ndarray | None = None,
) -> Questions:
    """Draws the questions. Each user has a separate random stream, so other users do not affect the draws.

    If ``dataset.random_test`` holds ratings of randomly drawn items, these items are the candidates, except
    items that are also in the user's log. The history is a random sample of the user's likes.

    Otherwise the candidates are one held-out like, and items with which the user has no interaction. The
    history consists of the likes right before the held-out like. Usually the user's last like is held out. If
    likes have no order in time, a random like is held out. In generated data, the held-out like is at
    a random place in the log, because generated users list their favourites first.

    Args:
      dataset: the data set. Only tuning users get questions.
      config: number of users, and number of candidates that the user did not take.
      length: L.
      lettered: whether candidates have letters. If so, a question has at most `PROMPT_CANDIDATES` candidates.
      seed: fixes all draws.
      alike: int32 [N + 1], see `ialp_jax.llm.prompting.alike`. No question shows two items with the same
        words.

    Raises:
      InputError: fewer than two users have enough data for a question.
    """
    most = PROMPT_CANDIDATES if lettered else dataset.catalogue.num_items
    questions: dict[int, _Question] = {}
    for user in keys.generator(seed, "audit").permutation(dataset.users(TUNING)):
        if config.users and len(questions) == config.users:
            break
        generator = keys.generator(seed, "audit user", int(user))
        if dataset.random_test is None:
            question = _held_out(dataset, int(user), min(config.negatives, most - 1), generator, alike)
        else:
            question = _rated(dataset, int(user), most, generator, alike)
        if len(question.before) and 0 < question.relevant.sum() < len(question.relevant):
            questions[int(user)] = question
    if len(questions) < 2:
        raise InputError(
            f"{dataset.name}: the audit needs 2 tuning users with both a history and a held-out item, and "
            f"finds {len(questions)}; --config.audit.enabled=false skips it"
        )
    return _assembled(questions, length, seed, alike)


def _rows_of(rows: Interactions, user: int) -> slice:
    return slice(*np.searchsorted(rows.user, [user, user + 1]))


def _held_out(
    dataset: Dataset, user: int, negatives: int, generator: np.random.Generator, alike: np.ndarray | None
) -> _Question:
    likes = dataset.histories.of(user)
    if not dataset.interactions.ordered:
        likes = generator.permutation(likes)
    elif dataset.truth is not None and len(likes) > 1:
        likes = likes[: generator.integers(2, len(likes) + 1)]
    known = dataset.interactions.item[_rows_of(dataset.interactions, user)]
    others = apart(np.setdiff1d(np.arange(1, dataset.catalogue.num_items + 1), known), known, alike)
    if alike is not None:
        others = different(generator.permutation(others), alike)
    drawn = generator.choice(others, min(negatives, len(others)), replace=False)
    candidates = generator.permutation(np.concatenate([likes[-1:], drawn]))
    return _Question(apart(likes[:-1], likes[-1:], alike), candidates, np.isin(candidates, likes[-1:]))


def _rated(
    dataset: Dataset, user: int, most: int, generator: np.random.Generator, alike: np.ndarray | None
) -> _Question:
    test = _rows_of(dataset.random_test, user)
    items, like = dataset.random_test.item[test], dataset.random_test.like[test]
    known = dataset.interactions.item[_rows_of(dataset.interactions, user)]
    if alike is not None:
        known = np.flatnonzero(np.isin(alike, alike[known]))
    fresh = np.flatnonzero(~np.isin(items, known))
    chosen = generator.permutation(fresh)
    if alike is not None:
        chosen = chosen[np.isin(items[chosen], different(items[chosen], alike))]
    chosen = chosen[:most]
    return _Question(generator.permutation(dataset.histories.of(user)), items[chosen], like[chosen])


def _padded(rows: list[np.ndarray], width: int, left: bool, dtype: type) -> np.ndarray:
    """Puts rows of different lengths into one array [Q, width], padded with 0.

    If ``left`` is true, a row keeps its last ``width`` entries and is padded on the left. Otherwise it is
    padded on the right.
    """
    table: np.ndarray = np.zeros((len(rows), width), dtype)
    for target, row in zip(table, rows, strict=True):
        if left:
            row = row[-width:]
            target[width - len(row) :] = row
        else:
            target[: len(row)] = row
    return table


def _assembled(
    questions: dict[int, _Question], length: int, seed: int, alike: np.ndarray | None
) -> Questions:
    users = sorted(questions)
    before, candidates, relevant = (
        list(column) for column in zip(*(questions[u] for u in users), strict=True)
    )
    # All users form one random cycle. Each user gets the history of the previous user in the cycle.
    order = keys.generator(seed, "audit exchange").permutation(len(users))
    donor = np.empty(len(users), np.int64)
    donor[order] = np.roll(order, 1)
    others = [
        apart(before[d][~np.isin(before[d], offered)], offered, alike)
        for d, offered in zip(donor, candidates, strict=True)
    ]
    widest = max(map(len, candidates))
    return Questions(
        user=np.array(users, np.int32),
        known=np.array(list(map(len, before)), np.int32),
        histories=_padded(before, length, True, np.int32),
        exchanged=_padded(others, length, True, np.int32),
        candidates=_padded(candidates, widest, False, np.int32),
        relevant=_padded(relevant, widest, False, bool),
    )

"""Questions about held-out items: which item did the user really take? numpy only.

A question shows likes of a user who is not offline, and candidates. The user took some of the candidates and
did not take the others. The *exchanged* question shows the history of another user instead. If the model
still chooses the taken item, its answer does not depend on the history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import AuditConfig
from ialp_jax.llm.prompting.alike import apart, different
from ialp_jax.types import OFFLINE, Dataset, Interactions

PROMPT_CANDIDATES = 25  # maximum number per prompt; the last of 26 letters means "none"


class Questions(NamedTuple):
    """Q questions, one per user, users ascending.

    Attributes:
      user: int32 [Q].
      known: int32 [Q], number of likes from which the history was taken.
      histories: int32 [Q, L], oldest first, left-padded with 0.
      exchanged: int32 [Q, L], the history of another user, without the candidates.
      candidates: int32 [Q, K], in random order; 0 after the last one.
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
        """Candidates of each question, int64 [Q]."""
        return (self.candidates > 0).sum(axis=1)


class _Question(NamedTuple):
    """Earlier likes [.], candidates [K], and whether the user took each candidate [K]."""

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
    """Draws the questions. A user's question does not depend on the number of other users.

    If ``dataset.random_test`` holds ratings of randomly drawn items, these items are the candidates. Items
    that the user also rated by choice are left out. The history is drawn from the user's likes.

    Otherwise the candidates are one held-out like and items without an interaction of the user. The history
    consists of the likes right before this like. Usually the held-out like is the last one. If likes have no
    order in time, it is a random like. If the data were generated, the held-out like is at a random place,
    because generated users list their favourites first.

    Args:
      dataset: questions are about users who are not offline.
      config: number of users, and number of candidates that the user did not take.
      length: L.
      lettered: whether candidates have letters. If so, one prompt must hold the whole question.
      seed: fixes all draws.
      alike: int32 [N + 1], see `ialp_jax.llm.prompting.alike`. No question has two items with the same words.

    Raises:
      InputError: fewer than two users have enough data for a question.
    """
    most = PROMPT_CANDIDATES if lettered else dataset.catalogue.num_items
    questions: dict[int, _Question] = {}
    for user in keys.generator(seed, "audit").permutation(np.flatnonzero(dataset.split != OFFLINE)):
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
            f"{dataset.name}: the audit needs 2 users outside the offline split with both a history and a "
            f"held-out item, and finds {len(questions)}; --config.audit.enabled=false skips it"
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
    """Puts rows of any length into one array [Q, width]: the last ``width`` of each, left-padded."""
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
    # One cycle through all users in random order: every user gets the history of another user.
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

"""Which item did the user really take? Questions whose answer is known. numpy only.

A question shows likes of a user that is not offline, and candidates of which the user is known to have
taken some and not others. *Exchanged* is the same question after the history of another user: what is still
right then does not come from the history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.labelling.audit_config import AuditConfig
from ialp_jax.llm.prompting.alike import apart, different
from ialp_jax.types import OFFLINE, Dataset, Interactions

PROMPT_CANDIDATES = 25  # of one prompt: as many as letters can name, beside one for "none"


class Questions(NamedTuple):
    """Q questions, one per user, users ascending.

    Attributes:
      user: int32 [Q].
      known: int32 [Q], likes of the user from which the history was taken.
      histories: int32 [Q, L], oldest first, left-padded with 0.
      exchanged: int32 [Q, L], the history of another user, without the candidates.
      candidates: int32 [Q, K], in random order; 0 after the last one.
      relevant: bool [Q, K], whether the user took it.
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
    """Likes that came before [.], candidates [K] and which of them were taken [K]."""

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
    """Draws the questions; a user's own does not depend on how many other users are asked.

    Where ``dataset.random_test`` holds ratings of randomly drawn items, the candidates are those (less what
    the user rated by choice too), and the history is drawn from the user's likes. Elsewhere one like is held
    out and mixed among items that the user never met; the history is what came right before it. It is the
    last like; a random one where likes have no order in time; the like at a random place where the data were
    generated, as generated users list what they like best first: the last one is what they like least.

    Args:
      dataset: its offline users are not read.
      config: how many users, how many negatives.
      length: L.
      lettered: whether candidates bear letters, so that one prompt must hold all of a question.
      seed: of all that is drawn.
      alike: int32 [N + 1], see `ialp_jax.llm.prompting.alike`: a question has no two items of the same words.

    Raises:
      InputError: fewer than two users can be asked.
    """
    most = PROMPT_CANDIDATES if lettered else dataset.catalogue.num_items
    found: dict[int, _Question] = {}
    for user in keys.generator(seed, "audit").permutation(np.flatnonzero(dataset.split != OFFLINE)):
        if config.users and len(found) == config.users:
            break
        generator = keys.generator(seed, "audit user", int(user))
        if dataset.random_test is None:
            question = _held_out(dataset, int(user), min(config.negatives, most - 1), generator, alike)
        else:
            question = _rated(dataset, int(user), most, generator, alike)
        if len(question.before) and 0 < question.relevant.sum() < len(question.relevant):
            found[int(user)] = question
    if len(found) < 2:
        raise InputError(
            f"{dataset.name}: the audit needs 2 users outside the offline split with both a history and a "
            f"held-out item, and finds {len(found)}; --config.audit.enabled=false leaves it out"
        )
    return _assembled(found, length, seed, alike)


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
    met = dataset.interactions.item[_rows_of(dataset.interactions, user)]
    unseen = apart(np.setdiff1d(np.arange(1, dataset.catalogue.num_items + 1), met), met, alike)
    if alike is not None:
        unseen = different(generator.permutation(unseen), alike)
    drawn = generator.choice(unseen, min(negatives, len(unseen)), replace=False)
    candidates = generator.permutation(np.concatenate([likes[-1:], drawn]))
    return _Question(apart(likes[:-1], likes[-1:], alike), candidates, np.isin(candidates, likes[-1:]))


def _rated(
    dataset: Dataset, user: int, most: int, generator: np.random.Generator, alike: np.ndarray | None
) -> _Question:
    own = _rows_of(dataset.interactions, user)
    test = _rows_of(dataset.random_test, user)
    items, like = dataset.random_test.item[test], dataset.random_test.like[test]
    met = dataset.interactions.item[own]
    if alike is not None:
        met = np.flatnonzero(np.isin(alike, alike[met]))
    fresh = np.flatnonzero(~np.isin(items, met))
    chosen = generator.permutation(fresh)
    if alike is not None:
        chosen = chosen[np.isin(items[chosen], different(items[chosen], alike))]
    chosen = chosen[:most]
    return _Question(generator.permutation(dataset.histories.of(user)), items[chosen], like[chosen])


def _padded(rows: list[np.ndarray], width: int, left: bool, dtype: type) -> np.ndarray:
    """Rows of any length in one array [Q, width]; on the left the last ``width`` of each."""
    table = np.zeros((len(rows), width), dtype)
    for target, row in zip(table, rows, strict=True):
        if left:
            row = row[-width:]
            target[width - len(row) :] = row
        else:
            target[: len(row)] = row
    return table


def _assembled(found: dict[int, _Question], length: int, seed: int, alike: np.ndarray | None) -> Questions:
    users = sorted(found)
    before, candidates, relevant = (list(column) for column in zip(*(found[u] for u in users), strict=True))
    # One cycle through all users in random order: nobody keeps the own history.
    order = keys.generator(seed, "audit exchange").permutation(len(users))
    donor = np.empty(len(users), np.int64)
    donor[order] = np.roll(order, 1)
    others = [
        apart(before[d][~np.isin(before[d], asked)], asked, alike)
        for d, asked in zip(donor, candidates, strict=True)
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

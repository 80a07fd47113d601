"""Ranking metrics of held-out likes (AUC and NDCG@10), and baseline models that ignore the user."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.types import Array, UserModel
from ialp_jax.users.holdout import NEVER
from ialp_jax.users.predict import user_scores

_BLOCK_PAIRS = 4_000_000  # comparisons at once


@functools.partial(jax.jit, static_argnames=("held_out",))
def _place(model: UserModel, user: Array, item: Array, roles: Array, *, held_out: int) -> tuple[Array, Array]:
    """Computes the AUC and the rank of each of C likes; rank 0 is best, and a tie counts half.

    Args:
      model: gives the scores.
      user: int [C].
      item: int [C], columns 0..N-1.
      roles: int8 [C, N], for each like the roles of all items for its user.
      held_out: the role of the likes.
    """
    scores = user_scores(model, user)
    liked = jnp.take_along_axis(scores, item[:, None], axis=1)
    outranked = (scores < liked) + 0.5 * (scores == liked)
    negative = roles == NEVER
    auc = jnp.sum(outranked * negative, axis=1) / jnp.maximum(jnp.sum(negative, axis=1), 1)
    rank = jnp.sum((1.0 - outranked) * (negative | (roles == held_out)), axis=1)
    return auc, rank - 0.5  # minus the item's tie with itself


def ranking_metrics(model: UserModel, roles: np.ndarray, held_out: int) -> dict[str, float]:
    """Ranks each held-out like among the items that its user never interacted with.

    NDCG ranks all held-out likes of a user together with these items.

    Args:
      model: gives the scores.
      roles: int8 [U, N] from ``holdout.roles``.
      held_out: VALIDATION or TEST; likes with any other role are ignored.

    Returns:
      ``auc``: probability that a held-out like outranks an item without interaction, mean over users.
      ``ndcg10``: NDCG at 10 with binary relevance (K. Jarvelin, J. Kekalainen, 2002), mean over users.
    """
    user, item = np.nonzero(roles == held_out)
    size = max(1, min(_BLOCK_PAIRS // roles.shape[1], len(user)))
    auc, rank = np.zeros(len(user)), np.zeros(len(user))
    for first in range(0, len(user), size):
        here = np.arange(first, first + size)
        row = np.minimum(here, len(user) - 1)  # pads the last block: one shape, one compilation
        placed = _place(model, user[row], item[row], roles[user[row]], held_out=held_out)
        inside = here[here < len(user)]
        auc[inside], rank[inside] = (np.asarray(part)[: len(inside)] for part in placed)
    owners, of, counts = np.unique(user, return_inverse=True, return_counts=True)
    gain = np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0)
    best = np.cumsum(1.0 / np.log2(np.arange(10) + 2.0))[np.minimum(counts, 10) - 1]
    return {
        "auc": float(np.mean(np.bincount(of, auc, len(owners)) / counts)),
        "ndcg10": float(np.mean(np.bincount(of, gain, len(owners)) / best)),
    }


def rated_metrics(scores: np.ndarray, user: np.ndarray, like: np.ndarray) -> dict[str, float]:
    """Measures whether each user's liked items score higher than the user's other rated items.

    Args:
      scores: float [T]; a tie counts half.
      user: int [T].
      like: bool [T].

    Returns:
      ``auc``, mean over users with both likes and other ratings; ``ndcg10``, mean over users with likes.
    """
    aucs, gains = [], []
    for owner in np.unique(user[like]):
        rated, liked = scores[user == owner], like[user == owner]
        above = (rated[:, None] < rated).astype(float) + 0.5 * (rated[:, None] == rated)
        rank = above.sum(axis=1) - 0.5  # minus the item's tie with itself
        best = np.sum(1.0 / np.log2(np.arange(min(10, liked.sum())) + 2.0))
        gains.append(np.sum(np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0)[liked]) / best)
        if not liked.all():
            aucs.append(1.0 - np.mean(above[liked][:, ~liked]))
    return {"auc": float(np.mean(aucs)) if aucs else float("nan"), "ndcg10": float(np.mean(gains))}


def item_model(values: np.ndarray) -> UserModel:
    """Returns a model with a single user (id 0), whose item scores are ``values`` [N + 1]."""
    knots = np.array([0.0], np.float32)
    values = np.asarray(values, np.float32)
    return UserModel(
        np.zeros((1, 1), np.float32), np.zeros((len(values), 1), np.float32), values, knots, knots
    )


def popularity_model(roles: np.ndarray, role: int) -> UserModel:
    """Returns a model in which an item's score for every user is its number of likes with the given role."""
    counts = np.concatenate([[0], np.sum(roles == role, axis=0)]).astype(np.float32)
    return item_model(counts)._replace(user_factors=np.zeros((len(roles), 1), np.float32))

"""How well scores rank held-out likes: AUC and NDCG@10."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.types import Array, UserModel
from ialp_jax.users.holdout import NEVER
from ialp_jax.users.preference import user_scores

_BLOCK_PAIRS = 4_000_000  # comparisons at once


@functools.partial(jax.jit, static_argnames=("held_out",))
def _place(model: UserModel, user: Array, item: Array, roles: Array, *, held_out: int) -> tuple[Array, Array]:
    """AUC and rank (0 is best; a tie counts half) of likes: int [C], int [C] (column), int8 [C, N]."""
    scores = user_scores(model, user)
    own = jnp.take_along_axis(scores, item[:, None], axis=1)
    won = (scores < own) + 0.5 * (scores == own)
    negative = roles == NEVER
    auc = jnp.sum(won * negative, axis=1) / jnp.maximum(jnp.sum(negative, axis=1), 1)
    lost = jnp.sum((1.0 - won) * (negative | (roles == held_out)), axis=1)
    return auc, lost - 0.5  # without the item's tie with itself


def ranking_metrics(model: UserModel, roles: np.ndarray, held_out: int) -> dict[str, float]:
    """Ranks each held-out like among the items that its user never interacted with.

    Args:
      model: whose scores rank.
      roles: int8 [U, N] of ``holdout.roles``.
      held_out: VALIDATION or TEST; likes with any other role are left out.

    Returns:
      ``auc``: probability that a held-out like outranks an item without interaction, mean over users.
      ``ndcg10``: NDCG at 10 with binary relevance (K. Jarvelin, J. Kekalainen, 2002), mean over users.
    """
    user, item = np.nonzero(roles == held_out)
    size = max(1, min(_BLOCK_PAIRS // roles.shape[1], len(user)))
    auc, rank = np.zeros(len(user)), np.zeros(len(user))
    for first in range(0, len(user), size):
        here = np.arange(first, first + size)
        row = np.minimum(here, len(user) - 1)  # the last block is filled up: one shape, one compilation
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
    """Ranks the rated items of each user: those liked should precede the others.

    Args:
      scores: float [T]; a tie counts half.
      user: int [T].
      like: bool [T].

    Returns:
      ``auc``, mean over users with likes and others; ``ndcg10``, mean over users with likes.
    """
    aucs, gains = [], []
    for owner in np.unique(user[like]):
        own, liked = scores[user == owner], like[user == owner]
        above = (own[:, None] < own).astype(float) + 0.5 * (own[:, None] == own)
        rank = above.sum(axis=1) - 0.5  # without the tie with itself
        best = np.sum(1.0 / np.log2(np.arange(min(10, liked.sum())) + 2.0))
        gains.append(np.sum(np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0)[liked]) / best)
        if not liked.all():
            aucs.append(1.0 - np.mean(above[liked][:, ~liked]))
    return {"auc": float(np.mean(aucs)) if aucs else float("nan"), "ndcg10": float(np.mean(gains))}


def item_model(values: np.ndarray) -> UserModel:
    """Scores every item by its value [N + 1], the same for its one user, 0."""
    knots = np.array([0.0], np.float32)
    values = np.asarray(values, np.float32)
    return UserModel(
        np.zeros((1, 1), np.float32), np.zeros((len(values), 1), np.float32), values, knots, knots
    )


def popularity_model(roles: np.ndarray, role: int) -> UserModel:
    """Scores every item by its number of likes with this role, the same for all users."""
    counts = np.concatenate([[0], np.sum(roles == role, axis=0)]).astype(np.float32)
    return item_model(counts)._replace(user_factors=np.zeros((len(roles), 1), np.float32))

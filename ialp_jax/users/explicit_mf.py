"""The family ``explicit_mf``: matrix factorisation of ratings by alternating least squares.

T. Schnabel, A. Swaminathan, A. Singh, N. Chandak, T. Joachims: Recommendations as Treatments: Debiasing
Learning and Evaluation. ICML 2016. Users choose which items they rate, and they tend to choose items that
they expect to like. To correct this, each rating has the weight 1 / (probability that it is observed). The
loss is equation 15 of the paper, with biases and self-normalised weights w:

    sum_(u,i) w_ui (r_ui - b - b_u - b_i - x_u . y_i)^2 + lambda (sum_u |x_u|^2 + sum_i |y_i|^2)
        + mu (sum_u b_u^2 + sum_i b_i^2)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.types import Array, Interactions, Key, UserModel
from ialp_jax.users.implicit_mf import Chunks


class Ratings(NamedTuple):
    """M ratings to which the factors are fitted.

    Attributes:
      user: int32 [M].
      item: int32 [M], 0..N-1.
      rating: float32 [M].
      weight: float32 [M], mean 1.
    """

    user: Array
    item: Array
    rating: Array
    weight: Array


def weights(interactions: Interactions, propensity: str, clip: float, power: float) -> np.ndarray:
    """Computes the inverse propensities of all ratings, float64 [M], mean 1.

    Args:
      interactions: M rows with ratings.
      propensity: ``published``: the propensities in the data set; without them, like ``popularity``.
        ``popularity``: share of users who rated the item, to the power ``power``. ``none``: all ratings have
        the same weight.
      clip: lower bound; propensities below it are raised to it.
      power: exponent of the popularity.
    """
    if propensity == "none":
        return np.ones(len(interactions.item))
    published = getattr(interactions, "propensity", None)
    if propensity == "published" and published is not None:
        chance = np.asarray(published, np.float64)
    else:
        counts = np.bincount(interactions.item)
        chance = (counts[interactions.item] / len(np.unique(interactions.user))) ** power
    inverse = 1.0 / np.maximum(chance, clip)
    return inverse / inverse.mean()


def solve(
    other: Array, place: Array, target: Array, weight: Array, edges: Chunks, owners: int, penalty: Array
) -> Array:
    """Solves for one side (users or items) with the other side fixed, by a ridge regression for each row.

    Args:
      other: float32 [V, F + 1], factors of the side that is fixed; the last column has its biases.
      place: int32 [M], for each rating its row in ``other``.
      target: float32 [M], ratings minus their weighted mean.
      weight: float32 [M].
      edges: for each row to solve for, the indices 0..M-1 of its ratings.
      owners: W, the number of rows to solve for.
      penalty: float32 [F + 1], lambda for each of the F factors, then mu for the bias.

    Returns:
      float32 [W, F + 1].
    """
    rows = other[place[edges.neighbour]]
    design = rows.at[..., -1].set(1.0)
    left = target[edges.neighbour] - rows[..., -1]
    heavy = (weight[edges.neighbour] * edges.present)[..., None] * design
    grams = jnp.einsum("cwf,cwg->cfg", heavy, design)
    gram = jax.ops.segment_sum(grams, edges.owner, owners, indices_are_sorted=True)
    total = jnp.einsum("cwf,cw->cf", heavy, left)
    total = jax.ops.segment_sum(total, edges.owner, owners, indices_are_sorted=True)
    factor = jax.scipy.linalg.cho_factor(gram + jnp.diag(penalty))
    return jax.scipy.linalg.cho_solve(factor, total[..., None])[..., 0]


@functools.partial(jax.jit, static_argnames=("num_users", "num_items", "factors", "iterations"))
def factorise(
    key: Key,
    ratings: Ratings,
    by_user: Chunks,
    by_item: Chunks,
    regularisation: Array,
    bias_regularisation: Array,
    *,
    num_users: int,
    num_items: int,
    factors: int,
    iterations: int,
) -> tuple[Array, Array, Array]:
    """Factorises the ratings: solves for users and items in turn, starting from random item factors.

    Args:
      key: draws the first item factors.
      ratings: M ratings.
      by_user, by_item: indices 0..M-1 of the ratings, grouped by user and by item.
      regularisation: lambda.
      bias_regularisation: mu.
      num_users: U.
      num_items: N.
      factors: F.
      iterations: sweeps over both sides.

    Returns:
      float32 [U, F + 1] and [N, F + 1] with the biases in the last column, and the weighted mean rating [].
    """
    mean = jnp.average(ratings.rating, weights=ratings.weight)
    target = ratings.rating - mean
    penalty = jnp.full(factors + 1, regularisation).at[-1].set(bias_regularisation)
    items = 0.1 * jax.random.normal(key, (num_items, factors + 1)).at[:, -1].set(0.0)
    users = jnp.zeros((num_users, factors + 1))

    def sweep(_: Array, sides: tuple[Array, Array]) -> tuple[Array, Array]:
        common = (target, ratings.weight)
        users = solve(sides[1], ratings.item, *common, by_user, num_users, penalty)
        return users, solve(users, ratings.user, *common, by_item, num_items, penalty)

    return *jax.lax.fori_loop(0, iterations, sweep, (users, items)), mean


def as_model(users: np.ndarray, items: np.ndarray, mean: np.ndarray) -> UserModel:
    """Returns the uncalibrated model whose scores are predicted ratings; arguments as from ``factorise``."""
    knots = np.array([0.0], np.float32)
    factors = np.concatenate([items[:, :-1], np.ones((len(items), 1), np.float32)], axis=1)
    return UserModel(
        np.asarray(users, np.float32),
        np.concatenate([np.zeros((1, factors.shape[1]), np.float32), factors]),
        np.concatenate([[mean], items[:, -1] + mean]).astype(np.float32),
        knots,
        knots,
    )

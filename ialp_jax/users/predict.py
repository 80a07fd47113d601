"""Predictions of a ``UserModel``: scores, log-odds and probabilities as pure functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.types import Array, UserModel


def calibrated(model: UserModel, score: Array) -> Array:
    """Turns raw scores of any shape into log-odds of a like, float32; increasing between the end knots."""
    return jnp.interp(score, model.knot_scores, model.knot_logits)


def like_logit(model: UserModel, user: Array, item: Array) -> Array:
    """Computes the log-odds that the user likes the item.

    Args:
      model: user model of U users and N items.
      user: int, any shape; 0..U-1.
      item: int, any shape that broadcasts with ``user``; 1..N.

    Returns:
      float32, the broadcast shape.
    """
    factors = jnp.asarray(model.user_factors)[user] * jnp.asarray(model.item_factors)[item]
    return calibrated(model, jnp.sum(factors, axis=-1) + jnp.asarray(model.item_bias)[item])


def like_probability(model: UserModel, user: Array, item: Array) -> Array:
    """Computes the probability that the user likes the item; arguments and shape as in ``like_logit``."""
    return jax.nn.sigmoid(like_logit(model, user, item))


def user_scores(model: UserModel, user: Array) -> Array:
    """Computes raw scores of all items for an array of users: float32 [..., N], column a is item a + 1.

    Scores and probabilities rank the items in the same order. ``calibrated`` turns scores into log-odds.
    """
    factors = jnp.asarray(model.user_factors)[user]
    return factors @ jnp.asarray(model.item_factors)[1:].T + jnp.asarray(model.item_bias)[1:]

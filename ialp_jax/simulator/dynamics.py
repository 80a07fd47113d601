"""Rules of the effects that make users harder: how each part of ``Dynamics`` changes a session.

Each function states its rule and its source. A part that is off is None, so the compiled program does not
contain it. ``state`` and ``params`` are the state and parameters of `SessionEnvironment`. All functions are
for one session.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ialp_jax.keys import stream
from ialp_jax.simulator.dynamics_params import Boredom, Drift, Satiation
from ialp_jax.simulator.types import Mood, SessionParams, SessionState, Visit
from ialp_jax.types import Array, Key, UserModel
from ialp_jax.users import predict


def first_mood(user: Array, params: SessionParams) -> Mood:
    """Returns the mood at the beginning of a session."""
    parts = params.dynamics
    zero = jnp.int32(0)
    return Mood(
        recent=None if parts.boredom is None else jnp.zeros(parts.boredom.weights.shape, jnp.int32),
        satiation=None if parts.satiation is None else jnp.zeros(parts.satiation.strength.shape),
        taste=None if parts.drift is None else jnp.asarray(params.user_model.user_factors)[user],
        visit=None if parts.returning is None else Visit(zero, zero, zero),
    )


def full_patience(user: Array, params: SessionParams) -> Array:
    """Returns a user's patience at the start, which is also the maximum, float32 []."""
    segments, patience = params.dynamics.segments, jnp.asarray(params.patience, jnp.float32)
    if segments is None:
        return patience
    return jnp.where(segments.segment[user] & 1, patience * segments.impatient_factor, patience)


def like_logit(state: SessionState, item: Array, params: SessionParams) -> Array:
    """Computes the log-odds that the user likes the item now, float32 [].

    Starts from the log-odds of the user model and subtracts

    - ``boredom.logit * recency``, see `recency`;
    - ``strength * s_c`` with the satiation s_c of the item's category c; if the item has several categories,
      the mean of their products. Leqi et al. 2021 subtract lambda_k s_k from the expected reward of an arm;
      we subtract from the log-odds;
    - ``niche_strength * appeal`` for niche users.
    """
    model, parts = params.user_model, params.dynamics
    if parts.drift is None:
        logit = predict.like_logit(model, state.user, item)
    else:
        score = model.item_factors[item] @ state.mood.taste + model.item_bias[item]
        logit = predict.calibrated(model, score)
    if parts.boredom is not None:
        logit -= parts.boredom.logit * recency(parts.boredom, state.mood.recent, item)
    if parts.satiation is not None:
        logit -= _satiation_logit(parts.satiation, state.mood.satiation, item)
    if parts.segments is not None:
        niche = parts.segments.segment[state.user] >> 1
        logit -= niche * parts.segments.niche_strength * parts.segments.appeal[item]
    return logit


def like_probability(state: SessionState, item: Array, params: SessionParams) -> Array:
    """Computes the probability that the user answers with a like, float32 [].

    With noise, the probability is p (1 - missed_like) + (1 - p) false_like, where p is the one without noise.
    In Agarwal et al. 2019, a click is a noisy sign of relevance, with one error rate for relevant and one for
    irrelevant items.
    """
    table, noise = params.like_table, params.dynamics.noise
    if table is None or params.dynamics.moves_scores:
        probability = jax.nn.sigmoid(like_logit(state, item, params))
    else:
        probability = table[state.user, item]
    if noise is None:
        return probability
    return probability * (1 - noise.missed_like) + (1 - probability) * noise.false_like


def item_scores(state: SessionState, params: SessionParams) -> Array:
    """Computes item scores, float32 [..., N], that rank items like the user's present like probabilities.

    Args:
      state: any leading axes.
      params: parameters of the world.

    Returns:
      Raw scores of the user model if no part changes the ranking, else log-odds. Column a has item a + 1.
    """
    if not params.dynamics.moves_scores:
        return predict.user_scores(params.user_model, state.user)
    items = jnp.arange(1, params.user_model.item_bias.shape[0])

    def of_one(state: SessionState) -> Array:
        return jax.vmap(like_logit, in_axes=(None, 0, None))(state, items, params)

    for _ in range(jnp.ndim(state.user)):
        of_one = jax.vmap(of_one)
    return of_one(state)


def recency(boredom: Boredom, recent: Array, item: Array) -> Array:
    """Computes how many recent items were similar to this item, weighted by 1 / age, float32 [] in 0..1.

    ``sum_a [item of age a is similar] / a``, divided by ``sum_a 1 / a``. This is the recency of Warlop et al.
    2018, but they count only the same arm. We count items that share a category or have nearly the same
    vector.
    """
    category = boredom.category[item]
    same = boredom.category[recent][:, :, None] == category
    similar = (same & (category > 0)).any(axis=(1, 2))
    similar |= boredom.directions[recent] @ boredom.directions[item] >= boredom.similarity
    return jnp.sum(boredom.weights * (similar & (recent > 0)))


def disliked(key: Key, like: Array, probability: Array, params: SessionParams) -> Array | None:
    """Draws whether the user dislikes the item explicitly, bool []; None if dislikes are off.

    An item that is not liked is disliked with probability ``dislikes.probability * (1 - p)``, where p is the
    like probability.
    """
    part = params.dynamics.dislikes
    if part is None:
        return None
    chance = part.probability * (1 - probability)
    return (jax.random.uniform(stream(key, "dislike")) < chance) & ~like


def patience_after(
    patience: Array, state: SessionState, item: Array, dislike: Array | None, params: SessionParams
) -> Array:
    """Subtracts the costs of an explicit dislike and of boredom from the patience, float32 []."""
    parts = params.dynamics
    if dislike is not None:
        patience -= parts.dislikes.patience * dislike
    if parts.boredom is not None:
        patience -= parts.boredom.patience * recency(parts.boredom, state.mood.recent, item)
    return patience


def remember(mood: Mood, item: Array, like: Array, params: SessionParams) -> Mood:
    """Returns the mood after the user's answer to ``item``."""
    if mood.recent is not None:
        mood = dataclasses.replace(mood, recent=jnp.concatenate([mood.recent[1:], item[None]]))
    if mood.satiation is not None:
        satiation = _next_satiation(params.dynamics.satiation, mood.satiation, item, like)
        mood = dataclasses.replace(mood, satiation=satiation)
    if mood.visit is not None:
        visit = mood.visit
        mood = dataclasses.replace(mood, visit=Visit(visit.number, visit.steps + 1, visit.likes + like))
    return mood


def _satiation_logit(part: Satiation, satiation: Array, item: Array) -> Array:
    """Computes the decrease of the log-odds by satiation: mean over the item's categories, 0 without any."""
    category = part.category[item]
    decrease = (part.strength * satiation)[category]
    return jnp.sum(decrease) / jnp.maximum(jnp.sum(category > 0), 1)


def _next_satiation(part: Satiation, satiation: Array, item: Array, like: Array) -> Array:
    """Satiation ``s' = gamma (s + u)``, with u = 1 for each category of a liked item (Leqi et al. 2021)."""
    return part.memory * satiation.at[part.category[item]].add(like.astype(satiation.dtype))


def between_steps(
    key: Key, state: SessionState, item: Array, params: SessionParams
) -> tuple[SessionState, Array | None]:
    """Changes the user between two steps: the taste drifts, and a visit may end and another begin.

    Args:
      key: key of the step; each rule derives its own random stream from this key.
      state: after the answer.
      item: int32 [].
      params: parameters of the world.

    Returns:
      The new state, and whether the user left and returned, bool [] (None if returns are off).
    """
    parts = params.dynamics
    if parts.drift is not None:
        taste = _drifted(
            stream(key, "drift"), parts.drift, params.user_model, state.user, state.mood.taste, item
        )
        state = state.replace(mood=dataclasses.replace(state.mood, taste=taste))
    if parts.returning is None:
        return state, None
    return _maybe_return(stream(key, "return"), state, params)


def _drifted(key: Key, part: Drift, model: UserModel, user: Array, taste: Array, item: Array) -> Array:
    """Moves the taste by biased assimilation and a random walk on the sphere, float32 [F].

    With taste x and item v, both normalised to length 1, the new direction is that of
    ``x + attraction (x . v) v + noise e / sqrt(F)`` with standard normal e. Without noise this is the model
    of Dean and Morgenstern 2022: the taste moves towards an item with a similar direction and away from an
    item with the opposite direction. The new taste has the length of the user's vector in the user model.
    """

    def unit(vector: Array) -> Array:
        return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-9)

    x, v = unit(taste), unit(model.item_factors[item])
    step = jax.random.normal(key, taste.shape) / jnp.sqrt(taste.shape[0])
    moved = x + part.attraction * jnp.dot(x, v) * v + part.noise * step
    return jnp.linalg.norm(model.user_factors[user]) * unit(moved)


def _maybe_return(key: Key, state: SessionState, params: SessionParams) -> tuple[SessionState, Array]:
    """Ends the visit if patience or ``visit_length`` is used up; the user then returns or leaves for good.

    The probability of a return is ``base + gain * likes / steps``, at most 1, with the likes and steps of the
    visit. This is the response-dependent return of KuaiSim (Zhao et al. 2023) in its simplest form. A user
    who returns has full patience, no boredom and no satiation; the taste does not change.
    """
    part, mood = params.dynamics.returning, state.mood
    visit, rested = mood.visit, first_mood(state.user, params)
    leaves = state.patience <= 0
    leaves |= (part.visit_length > 0) & (visit.steps >= part.visit_length)
    probability = part.base + part.gain * visit.likes / jnp.maximum(visit.steps, 1)
    returns = leaves & (jax.random.uniform(key) < probability)
    fresh = dataclasses.replace(rested, taste=mood.taste, visit=Visit(visit.number + 1, *rested.visit[1:]))
    mood = jax.tree.map(lambda new, old: jnp.where(returns, new, old), fresh, mood)
    remaining = jnp.where(leaves, 0.0, state.patience)
    patience = jnp.where(returns, full_patience(state.user, params), jnp.minimum(remaining, state.patience))
    return state.replace(patience=patience, mood=mood), returns

"""What makes users hard: their state, and how each part of ``Dynamics`` acts on it.

Each rule stands beside its source; whether it acts is decided when JAX traces (a part that is off is None).
``state`` and ``params`` are those of ``environment``; all functions are for one session.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.keys import stream
from ialp_jax.simulator.dynamics_params import Boredom, Drift, Satiation
from ialp_jax.simulator.types import Mood, SessionParams, SessionState, Visit
from ialp_jax.types import Array, Key, UserModel
from ialp_jax.users import predict


def first_mood(user: Array, params: SessionParams) -> Mood:
    """The mood at the beginning of a session."""
    parts = params.dynamics
    zero = jnp.int32(0)
    return Mood(
        recent=None if parts.boredom is None else jnp.zeros(parts.boredom.weights.shape, jnp.int32),
        satiation=None if parts.satiation is None else jnp.zeros(parts.satiation.strength.shape),
        taste=None if parts.drift is None else jnp.asarray(params.user_model.user_factors)[user],
        visit=None if parts.returning is None else Visit(zero, zero, zero),
    )


def full_patience(user: Array, params: SessionParams) -> Array:
    """The patience a user starts with and can recover to, float32 []: less for the impatient."""
    segments, patience = params.dynamics.segments, jnp.asarray(params.patience, jnp.float32)
    if segments is None:
        return patience
    return jnp.where(segments.segment[user] & 1, patience * segments.impatient_factor, patience)


def like_logit(state: SessionState, item: Array, params: SessionParams) -> Array:
    """Log-odds that the user would like the item now, float32 [].

    The user model's; less ``boredom.logit * recency`` (see `recency`), less
    ``strength * s_c`` for the satiation s_c of the item's category, the mean over its categories (Leqi et
    al. 2021 lower an arm's expected reward by lambda_k s_k; here the log-odds), less ``niche_strength *
    appeal`` for niche users.
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
        logit -= _satiety(parts.satiation, state.mood.satiation, item)
    if parts.segments is not None:
        niche = parts.segments.segment[state.user] >> 1
        logit -= niche * parts.segments.niche_strength * parts.segments.appeal[item]
    return logit


def like_probability(state: SessionState, item: Array, params: SessionParams) -> Array:
    """Probability that the user answers with a like, errors of the answer included, float32 [].

    With errors: p (1 - missed_like) + (1 - p) false_like (Agarwal et al. 2019: a click is a noisy
    sign of relevance, with one error rate per relevance).
    """
    probability, noise = jax.nn.sigmoid(like_logit(state, item, params)), params.dynamics.noise
    if noise is None:
        return probability
    return probability * (1 - noise.missed_like) + (1 - probability) * noise.false_like


def item_scores(state: SessionState, params: SessionParams) -> Array:
    """Scores that rank all items as the user's present like probabilities do, float32 [..., N].

    Args:
      state: any leading axes.
      params: of the world.

    Returns:
      Raw scores of the user model where no part moves them, else log-odds. Column a is item a + 1.
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
    """How much of what was shown lately was like this item, float32 [] in 0..1.

    ``sum_a [item of age a is alike] / a``, divided by ``sum_a 1 / a``: the recency of Warlop et al. 2018
    with items that share a category, or of nearly the same vector, in the place of the same arm.
    """
    category = boredom.category[item]
    same = boredom.category[recent][:, :, None] == category
    alike = (same & (category > 0)).any(axis=(1, 2))
    alike |= boredom.directions[recent] @ boredom.directions[item] >= boredom.similarity
    return jnp.sum(boredom.weights * (alike & (recent > 0)))


def disliked(key: Key, like: Array, probability: Array, params: SessionParams) -> Array | None:
    """Whether the user says no, bool []; None where users do not.

    An item that is not liked is disliked with probability ``dislikes.probability * (1 - p)``: the further
    from the user's taste, the likelier.
    """
    part = params.dynamics.dislikes
    if part is None:
        return None
    chance = part.probability * (1 - probability)
    return (jax.random.uniform(stream(key, "dislike")) < chance) & ~like


def worn(
    patience: Array, state: SessionState, item: Array, dislike: Array | None, params: SessionParams
) -> Array:
    """The patience left after what this item costs besides the ordinary rule, float32 []."""
    parts = params.dynamics
    if dislike is not None:
        patience -= parts.dislikes.patience * dislike
    if parts.boredom is not None:
        patience -= parts.boredom.patience * recency(parts.boredom, state.mood.recent, item)
    return patience


def remember(mood: Mood, item: Array, like: Array, params: SessionParams) -> Mood:
    """The mood after an answer to ``item``."""
    if mood.recent is not None:
        mood = mood.replace(recent=jnp.concatenate([mood.recent[1:], item[None]]))
    if mood.satiation is not None:
        mood = mood.replace(satiation=_sated(params.dynamics.satiation, mood.satiation, item, like))
    if mood.visit is not None:
        visit = mood.visit
        mood = mood.replace(visit=Visit(visit.number, visit.steps + 1, visit.likes + like))
    return mood


def _satiety(part: Satiation, satiation: Array, item: Array) -> Array:
    """Log-odds that satiation takes from an item: the mean over its categories, 0 if it has none."""
    category = part.category[item]
    lost = (part.strength * satiation)[category]
    return jnp.sum(lost) / jnp.maximum(jnp.sum(category > 0), 1)


def _sated(part: Satiation, satiation: Array, item: Array, like: Array) -> Array:
    """Satiation ``s' = gamma (s + u)``, with u = 1 for each category of a liked item (Leqi et al. 2021)."""
    return part.memory * satiation.at[part.category[item]].add(like.astype(satiation.dtype))


def move_on(
    key: Key, state: SessionState, item: Array, params: SessionParams
) -> tuple[SessionState, Array | None]:
    """What happens to the user between two steps: taste drifts, a visit ends and another may begin.

    Args:
      key: of the step; own streams are derived from it.
      state: after the answer.
      item: int32 [].
      params: of the world.

    Returns:
      The state, and whether the user left and came back, bool [], None where users do not.
    """
    parts = params.dynamics
    if parts.drift is not None:
        taste = _drifted(
            stream(key, "drift"), parts.drift, params.user_model, state.user, state.mood.taste, item
        )
        state = state.replace(mood=state.mood.replace(taste=taste))
    if parts.returning is None:
        return state, None
    return _perhaps_again(stream(key, "return"), state, params)


def _drifted(key: Key, part: Drift, model: UserModel, user: Array, taste: Array, item: Array) -> Array:
    """Biased assimilation and a random walk on the sphere, float32 [F].

    With x the taste and v the item at length 1: x' is the direction of
    ``x + attraction (x . v) v + noise e / sqrt(F)``, e standard normal; without the noise it is the model of
    Dean and Morgenstern 2022: towards what the user would like, away from the opposite. The length of the
    user's vector in the user model is kept.
    """

    def unit(vector: Array) -> Array:
        return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-9)

    x, v = unit(taste), unit(model.item_factors[item])
    step = jax.random.normal(key, taste.shape) / jnp.sqrt(taste.shape[0])
    moved = x + part.attraction * jnp.dot(x, v) * v + part.noise * step
    return jnp.linalg.norm(model.user_factors[user]) * unit(moved)


def _perhaps_again(key: Key, state: SessionState, params: SessionParams) -> tuple[SessionState, Array]:
    """Ends the visit where patience or ``visit_length`` does; the user then stays away or returns rested.

    Returns with probability ``base + gain * likes / steps`` of the visit, at most 1 (the response-dependent
    return of KuaiSim, Zhao et al. 2023, in its simplest form). Patience is full again, boredom and satiation
    are gone; the taste stays as it is.
    """
    part, mood = params.dynamics.returning, state.mood
    visit, rested = mood.visit, first_mood(state.user, params)
    leaves = state.patience <= 0
    leaves |= (part.visit_length > 0) & (visit.steps >= part.visit_length)
    chance = part.base + part.gain * visit.likes / jnp.maximum(visit.steps, 1)
    again = leaves & (jax.random.uniform(key) < chance)
    fresh = rested.replace(taste=mood.taste, visit=Visit(visit.number + 1, *rested.visit[1:]))
    mood = jax.tree.map(lambda new, old: jnp.where(again, new, old), fresh, mood)
    gone = jnp.where(leaves, 0.0, state.patience)
    patience = jnp.where(again, full_patience(state.user, params), jnp.minimum(gone, state.patience))
    return state.replace(patience=patience, mood=mood), again

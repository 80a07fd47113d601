"""Arrays of the effects that make users harder to please, built once per world from ``DynamicsConfig``.

Each effect is one part of `Dynamics`. A part that is switched off is None, an empty pytree, so it adds
nothing to the parameters, the state or the compiled program. The equations of the parts are in
``dynamics.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct

from ialp_jax import keys
from ialp_jax.simulator.dynamics_config import DynamicsConfig
from ialp_jax.types import Array, Dataset, UserModel

SEGMENTS = ("patient_mainstream", "impatient_mainstream", "patient_niche", "impatient_niche")


class Dislikes(NamedTuple):
    """Explicit negative feedback; float scalars, see ``DynamicsConfig.dislike_*``."""

    probability: Array
    reward: Array
    patience: Array


class Boredom(NamedTuple):
    """Boredom by similar items.

    Attributes:
      logit, patience, similarity: float scalars, see ``DynamicsConfig.boredom_*``.
      weights: float32 [W], weights of the recent items, oldest first; their sum is 1.
      category: int32 [N + 1, G], the categories of each item, padded with 0.
      directions: float32 [N + 1, F], the items' vectors in the user model, scaled to length 1 (or 0).
    """

    logit: Array
    patience: Array
    similarity: Array
    weights: Array
    category: Array
    directions: Array


class Satiation(NamedTuple):
    """Satiation by category.

    Attributes:
      strength: float32 [C], decrease of the log-odds per unit of satiation; 0 for category 0 ("no category").
      memory: float scalar.
      category: int32 [N + 1, G], the categories of each item, padded with 0.
    """

    strength: Array
    memory: Array
    category: Array


class Drift(NamedTuple):
    """Drift of the taste; float scalars, see ``DynamicsConfig.drift_*``."""

    attraction: Array
    noise: Array


class Segments(NamedTuple):
    """Segments of users.

    Attributes:
      segment: int32 [U], index into ``SEGMENTS``; bit 0: impatient, bit 1: niche.
      impatient_factor: float scalar.
      niche_strength: float scalar.
      appeal: float32 [N + 1], log-popularity among offline users, mean 0 and standard deviation 1.
    """

    segment: Array
    impatient_factor: Array
    niche_strength: Array
    appeal: Array


class Noise(NamedTuple):
    """Random errors of the user's answer; float scalars."""

    false_like: Array
    missed_like: Array


class Returning(NamedTuple):
    """Users who come back after a visit; float scalars, but ``visit_length`` is int32 (0: no limit)."""

    base: Array
    gain: Array
    visit_length: Array


@struct.dataclass
class Dynamics:
    """The arrays of all effects. None switches an effect off; by default all effects are off."""

    dislikes: Dislikes | None = None
    boredom: Boredom | None = None
    satiation: Satiation | None = None
    drift: Drift | None = None
    segments: Segments | None = None
    noise: Noise | None = None
    returning: Returning | None = None

    def imagined(self) -> Dynamics:
        """Returns the only part that imagined sessions also use: boredom.

        The patience cost of boredom depends only on the recommended items. In an imagined session the answers
        are labels, so drift, satiation, noise and dislikes cannot change them. Segments and returns need the
        id of a user, but an imagined session has only a window of a log.
        """
        return Dynamics(boredom=self.boredom)

    @property
    def moves_scores(self) -> bool:
        """Whether an effect can change the order in which the user model ranks a user's items."""
        parts = (self.boredom, self.satiation, self.drift, self.segments)
        return any(part is not None for part in parts)


def _scalars(*values: float) -> list[Array]:
    return [jnp.float32(value) for value in values]


def build_dynamics(dataset: Dataset, user_model: UserModel, config: DynamicsConfig) -> Dynamics:
    """Builds the parts that ``config`` switches on.

    Args:
      dataset: gives categories, histories and popularity among offline users.
      user_model: user model of the world.
      config: settings without None, as ``config.resolved`` returns them.
    """
    c, category = config, jnp.asarray(dataset.catalogue.categories)
    strength = np.full(len(dataset.catalogue.category_names), c.satiation, np.float32)
    strength[0] = 0.0
    return Dynamics(
        dislikes=Dislikes(*_scalars(c.dislike_probability, c.dislike_reward, c.dislike_patience))
        if c.dislike_probability
        else None,
        boredom=Boredom(
            *(
                *_scalars(c.boredom_logit, c.boredom_patience, c.boredom_similarity),
                *(_recency_weights(c.boredom_window), category, _directions(user_model)),
            )
        )
        if c.boredom_logit or c.boredom_patience
        else None,
        satiation=Satiation(jnp.asarray(strength), jnp.float32(c.satiation_memory), category)
        if c.satiation
        else None,
        drift=Drift(*_scalars(c.drift_attraction, c.drift_noise))
        if c.drift_attraction or c.drift_noise
        else None,
        segments=_segments(dataset, c) if c.impatient_share or c.niche_share else None,
        noise=Noise(*_scalars(c.false_like, c.missed_like)) if c.false_like or c.missed_like else None,
        returning=Returning(*(*_scalars(c.return_base, c.return_gain), jnp.int32(c.visit_length)))
        if c.return_base or c.return_gain or c.visit_length
        else None,
    )


def _recency_weights(window: int) -> Array:
    """1 / age for ages window..1, divided by their sum (Warlop et al. 2018)."""
    weights = 1.0 / np.arange(window, 0, -1)
    return jnp.asarray(weights / weights.sum(), jnp.float32)


def _directions(user_model: UserModel) -> Array:
    vectors = np.asarray(user_model.item_factors)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return jnp.asarray(vectors / np.where(lengths > 0, lengths, 1.0), jnp.float32)


def _segments(dataset: Dataset, config: DynamicsConfig) -> Segments:
    """Draws impatient users at random; niche users have likes with the lowest mean log-popularity."""
    appeal = np.log1p(dataset.popularity()[1:].astype(np.float64))
    appeal = np.concatenate([[0.0], (appeal - appeal.mean()) / max(appeal.std(), 1e-9)])
    num_users, histories = dataset.num_users, dataset.histories
    impatient = np.zeros(num_users, bool)
    random_order = keys.generator(config.seed, "impatient").permutation(num_users)
    impatient[random_order[: round(config.impatient_share * num_users)]] = True
    owner = np.repeat(np.arange(num_users), np.diff(histories.offsets))
    likes = np.maximum(np.diff(histories.offsets), 1)
    mainstream = np.bincount(owner, appeal[histories.items], num_users) / likes
    niche = np.zeros(num_users, bool)
    niche[np.argsort(mainstream, kind="stable")[: round(config.niche_share * num_users)]] = True
    return Segments(
        segment=jnp.asarray(impatient + 2 * niche, jnp.int32),
        impatient_factor=jnp.float32(config.impatient_factor),
        niche_strength=jnp.float32(config.niche_strength),
        appeal=jnp.asarray(appeal, jnp.float32),
    )

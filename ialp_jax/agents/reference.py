"""Reference policies: random, popular, oracle (which knows the user) and stayer. None of them learns."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from ialp_jax.agents.base import Agent, AgentState, frozen_state
from ialp_jax.agents.sampling import sample, uniform_unseen
from ialp_jax.networks.heads import mask_shown
from ialp_jax.types import Array, Key, Observation


def _init(key: Key, observation: Observation, pretrained: None = None) -> AgentState:
    """An empty state."""
    del key, observation, pretrained
    return frozen_state({})


def random(num_items: int) -> Agent:
    """Recommends an item that was not shown, drawn uniformly at random."""

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        del state, greedy
        return uniform_unseen(key, observation.shown, num_items), {}

    return Agent(_init, act)


def popular(popularity: Array) -> Agent:
    """Recommends the most popular item that was not shown.

    Args:
      popularity: [N + 1], number of likes of each item by offline users.
    """
    scores = jnp.asarray(popularity[1:], jnp.float32)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        del state, key, greedy
        rows = jnp.broadcast_to(scores, (*observation.history.shape[:-1], *scores.shape))
        return jnp.argmax(mask_shown(rows, observation.shown), -1).astype(jnp.int32), {}

    return Agent(_init, act)


def oracle(like_scores: Callable[[object], Array]) -> Agent:
    """Recommends the item with the highest like probability for this user; it does not plan ahead.

    Args:
      like_scores: function from simulator states to scores, float32 [..., N]. An item with a higher like
        probability has a higher score.
    """

    def act(
        state: AgentState, observation: tuple[Observation, object], key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        del state, key, greedy
        seen, simulator_state = observation
        scores = mask_shown(like_scores(simulator_state), seen.shown)
        return jnp.argmax(scores, -1).astype(jnp.int32), {}

    return Agent(_init, act, privileged=True)


def stayer(like_scores: Callable[[object], Array], at_ease: Callable[[object], Array]) -> Agent:
    """Only keeps users from leaving. Its return shows how much an agent can earn in this way.

    If the user may leave soon, the stayer recommends the oracle's item. Otherwise it recommends a random item
    that was not shown. So it earns only the few likes that keep users in the session. In a world that rewards
    good recommendations, the oracle earns clearly more.

    Args:
      like_scores: as for `oracle`.
      at_ease: function from simulator states to bool: whether the user stays after one more disliked item.
    """

    def act(
        state: AgentState, observation: tuple[Observation, object], key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        del state, greedy
        seen, simulator_state = observation
        scores = mask_shown(like_scores(simulator_state), seen.shown)
        anything = sample(key, mask_shown(jnp.zeros_like(scores), seen.shown))
        best = jnp.argmax(scores, -1).astype(jnp.int32)
        return jnp.where(at_ease(simulator_state), anything, best), {}

    return Agent(_init, act, privileged=True)

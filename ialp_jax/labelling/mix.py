"""Adds candidates of other proposers to those of the actor; a random order hides who proposed which.

An actor that has learned from labels proposes items that the label source chose before. Popular and uniformly
drawn candidates let the label source also judge other items.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.acting import streams
from ialp_jax.agents.sampling import candidates as draw_candidates
from ialp_jax.agents.streaming import Factors, choose_streamed
from ialp_jax.keys import stream
from ialp_jax.labelling.imagine import first_different, widened
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key

PROPOSERS = ("actor", "popular", "uniform")  # by their number in the label array ``proposer``
NO_LIKES = -1e3  # log-weight of items without likes: after all liked items, but before items that were shown


class Candidates(NamedTuple):
    """The candidates of B sessions.

    Attributes:
      items: int32 [B, K], 1..N.
      proposer: int8 [B, K], index into `PROPOSERS`.
    """

    items: np.ndarray
    proposer: np.ndarray


def of_actor(items: np.ndarray) -> Candidates:
    """Candidates [B, K] that the actor proposed, in their given order."""
    return Candidates(items, np.zeros(items.shape, np.int8))


def completed(
    network: ActorCritic,
    items: np.ndarray,
    popular: int,
    uniform: int,
    likes: np.ndarray,
    shown: np.ndarray,
    key: Key,
    alike: np.ndarray | None = None,
) -> Candidates:
    """Adds popular and uniformly drawn items to the items of the actor, and shuffles the candidates.

    Popular items are drawn one after the other, without replacement, in proportion to their likes. Items
    without likes come only if no others are left.

    Args:
      network: network of the actor; only its number of items matters.
      items: int32 [B, any], the items of the actor.
      popular, uniform: number of items to add.
      likes: int [N + 1], number of likes of each item.
      shown: int32 [B, any], items that the sessions have shown; 0 is ignored.
      key: consumed.
      alike: int32 [N + 1], items with the same number have the same words in a prompt; None: all differ.

    Returns:
      Candidates [B, K]. All candidates of a session have different words, and none of its shown items has
      these words. The catalogue must have enough such items, see
      `ialp_jax.labelling.imagine.require_left`.
    """
    counts = (items.shape[1], popular, uniform)
    log_likes = np.where(likes > 0, np.log(np.maximum(likes, 1)), NO_LIKES)[1:].astype(np.float32)
    log_weights = (log_likes, np.zeros_like(log_likes))
    streamed = streams(network, shown.shape[:1])
    for name, count, weights in zip(PROPOSERS[1:], counts[1:], log_weights, strict=True):
        if count:
            number, hidden = widened(count, np.hstack([shown, items]), alike)
            drawn = np.asarray(_draw(streamed, number, weights, hidden, stream(key, name)))
            items = np.hstack([items, first_different(drawn, count, alike)])
    proposer = np.broadcast_to(np.repeat(np.arange(len(counts), dtype=np.int8), counts), items.shape)
    order = np.argsort(np.asarray(jax.random.bits(stream(key, "order"), items.shape)), axis=1, kind="stable")
    return Candidates(*(np.take_along_axis(array, order, 1) for array in (items, proposer)))


@partial(jax.jit, static_argnums=(0, 1))
def _draw(streamed: bool, count: int, log_weights: Array, hidden: Array, key: Key) -> Array:
    """Draws items by their weights [N], int32 [B, count]. Items in ``hidden`` come last."""
    sessions, num_items = hidden.shape[0], log_weights.shape[0]
    if streamed:  # the biases are the logits of all sessions, because table and queries are 0
        factors = Factors(jnp.zeros((num_items + 1, 1)), log_weights)
        return choose_streamed(key, jnp.zeros((sessions, 1)), factors, hidden, count) + 1
    logits = jnp.broadcast_to(log_weights, (sessions, num_items))
    return draw_candidates(key, mask_shown(logits, hidden), count) + 1

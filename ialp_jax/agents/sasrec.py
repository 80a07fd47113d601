"""Supervised SASRec (Kang and McAuley, ICDM 2018): trained on logs, frozen.

    loss = -log softmax(score(history))[next item]

Like every policy, it samples from the softmax of its scores, or takes the best item if it is greedy.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents.acting import Remembered, streamed, streaming_encoder, streams
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, frozen_state
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import Recommender, initial_params, mask_shown
from ialp_jax.types import Array, Key, Observation


def sasrec(network: Recommender) -> Agent:
    """Samples from softmax(scores), without shown items; the parameters must be pre-trained."""

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = initial_params(network, key, observation.history) if pretrained is None else pretrained
        return frozen_state(params)

    def act(
        state: AgentState,
        observation: Observation,
        key: Key,
        greedy: bool = False,
        encoded: Remembered | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        history, shown = observation
        if streams(network, history.shape[:-1]):
            chosen = streamed(network, state.params, history, None if greedy else key, shown, encoded)
            return chosen[:, 0], {}
        seen = history if encoded is None else encoded.state
        scores = mask_shown(network.apply(state.params, seen), shown)
        return jnp.argmax(scores, -1).astype(jnp.int32) if greedy else sample(key, scores), {}

    return Agent(init, act, encoder=streaming_encoder(network))


def next_item_loss(network: Recommender, params: Params, windows: Array, key: Key) -> tuple[Array, Metrics]:
    """Cross-entropy of the next item at every position, over all N items.

    We use the softmax over the whole catalogue, not the paper's binary loss with sampled negatives.
    Klenitskiy and Vasilev (RecSys 2023) find that the softmax gives better results with SASRec.

    Args:
      network: with dropout as configured.
      params: its parameters.
      windows: int32 [B, L + 1], left-padded histories; the items up to position t predict item t + 1.
      key: for dropout.

    Returns:
      The mean loss over positions that are not padding, float32 [], and metrics.
    """
    inputs, targets = windows[:, :-1], windows[:, 1:]
    scores = network.apply(params, inputs, last_only=False, deterministic=False, rngs={"dropout": key})
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(scores, jnp.maximum(targets - 1, 0))
    real = (inputs > 0) & (targets > 0)
    value = jnp.sum(losses * real) / jnp.maximum(real.sum(), 1)
    hits = jnp.sum((jnp.argmax(jax.lax.stop_gradient(scores), -1) + 1 == targets) & real)
    return value, {"hit_rate": hits / jnp.maximum(real.sum(), 1)}

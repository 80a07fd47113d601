"""ialp_soft: pre-training on the scores of all candidates, not only on the chosen one.

    loss = critic_cost Huber(Q(s, a) - (r + gamma V_target(s'))) - w sum_k q_k log p_k - entropy_cost H(pi)

    p = softmax of the actor's logits over the K candidates
    q = softmax((scores - prior_weight * mean scores) / label_temperature) over the K candidates

A mean score is the mean of an item's scores in all labels, so it says how much the label source likes the
item without regard to the history. With prior_weight = 1, the actor learns only what the history adds.

The actor's term is the listwise cross-entropy of ListNet (Cao et al., "Learning to Rank: From Pairwise
Approach to Listwise Approach", ICML 2007, top-one probability). The weight w is the probability that the
answer is not "none". Critic and entropy are those of iALP (`ialp_jax.agents.ialp`). The agent is iALP's, with
these parameters.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import Metrics, Params
from ialp_jax.agents.config import SoftIALPConfig
from ialp_jax.agents.ialp import with_critic_and_entropy
from ialp_jax.networks.heads import ActorCritic
from ialp_jax.types import Array, Transition


def soft_loss(
    config: SoftIALPConfig, network: ActorCritic, params: Params, target: Params, batch: Transition
) -> tuple[Array, Metrics]:
    """Offline loss of ialp_soft, see the module docstring.

    Args:
      config: discount, weights, and the temperature of the labels.
      network: actor and duelling critic.
      params: parameters that are learned.
      target: parameters of the target network, with the same structure.
      batch: labelled transitions [B], with the extras of `ialp_jax.labelling.transitions`.

    Returns:
      The loss, float32 [], and metrics.
    """
    extras = batch.extras

    def actor(logits: Array) -> Array:
        proposed = jnp.take_along_axis(logits, extras["candidate_actions"], -1)
        scores = extras["label_scores"] - config.prior_weight * extras["mean_scores"]
        preference = preferences(scores, config.label_temperature)
        crossed = -jnp.sum(preference * jax.nn.log_softmax(proposed), -1)
        return jnp.mean(extras["label_weight"] * crossed)

    expected = batch._replace(reward=extras["label_reward"])
    return with_critic_and_entropy(config, network, params, target, expected, actor)


def preferences(scores: Array, temperature: float) -> Array:
    """softmax(scores / temperature): maps scores [..., K] to probabilities [..., K].

    Candidates whose score is not finite have probability 0. If a prompt has no finite score, all its
    probabilities are 0, so that the prompt teaches the actor nothing.
    """
    known = jnp.isfinite(scores)
    best = jnp.max(scores, -1, keepdims=True, where=known, initial=jnp.finfo(scores.dtype).min)
    below = jnp.where(known, scores, best) - best  # no arithmetic with values that are not finite
    weights = jnp.where(known, jnp.exp(below / temperature), 0.0)
    return weights / jnp.maximum(jnp.sum(weights, -1, keepdims=True), 1.0)

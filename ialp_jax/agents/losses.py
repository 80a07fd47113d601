"""Returns, advantages and targets for one sequence of T steps; callers vmap over users."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp

from ialp_jax.types import Array


def generalised_advantages(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    discount: float,
    trace: float,
) -> Array:
    """Generalised advantage estimation (Schulman et al., ICLR 2016, equation 16).

    The return of a terminated step is only its reward. A truncated step bootstraps from the value of the
    session's final observation. In both cases, no advantage flows back from the next session.

    Args:
      rewards: float32 [T].
      values: float32 [T], V of the observations.
      next_values: float32 [T], V of the next observations; after a truncated step, V of the session's final
        observation.
      terminated: bool [T].
      truncated: bool [T].
      discount: gamma.
      trace: lambda.

    Returns:
      Advantages, float32 [T]. Advantages plus ``values`` are the lambda returns.
    """
    chex.assert_rank([rewards, values, next_values, terminated, truncated], 1)
    errors = rewards + discount * next_values * (1.0 - terminated) - values
    decay = discount * trace * (1.0 - jnp.logical_or(terminated, truncated))

    def backward(later: jax.Array, step: tuple[Any, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error, keep = step
        advantage = error + keep * later
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros(()), (errors, decay), reverse=True)[1]


def reward_to_go(rewards: Array, ended: Array, bootstrap: Array, discount: float) -> tuple[Array, Array]:
    """Monte Carlo returns within sessions (REINFORCE; Sutton and Barto 2018, section 13.4).

    Args:
      rewards: float32 [T].
      ended: bool [T], whether the step is the last one of a session.
      bootstrap: float32 [T], V of the session's final observation if the step was truncated, else 0.
      discount: gamma.

    Returns:
      Discounted returns, float32 [T], and bool [T]: whether each step's session ended within the T steps.
    """
    chex.assert_rank([rewards, ended, bootstrap], 1)

    def backward(
        carry: tuple[jax.Array, jax.Array], step: tuple[Any, Any, Any]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        later, known = carry
        reward, end, beyond = step
        total = reward + discount * jnp.where(end, beyond, later)
        known = known | end
        return (total, known), (total, known)

    start = (jnp.zeros(()), jnp.asarray(False))
    return jax.lax.scan(backward, start, (rewards, ended, bootstrap), reverse=True)[1]


def q_target(reward: Array, terminated: Array, online_q: Array, target_q: Array, discount: float) -> Array:
    """Double Q-learning target (van Hasselt et al., AAAI 2016, equation 4); vmap for batches.

    Args:
      reward: float32 [].
      terminated: bool [].
      online_q: float32 [N], Q values that select the next action.
      target_q: float32 [N], Q values that evaluate the selected action.
      discount: gamma.

    Returns:
      float32 [], without gradient. A truncated step bootstraps like a step within a session.
    """
    chex.assert_rank([reward, terminated, online_q, target_q], [0, 0, 1, 1])
    following = target_q[jnp.argmax(online_q)]
    return jax.lax.stop_gradient(reward + discount * (1.0 - terminated) * following)


def value_target(reward: Array, terminated: Array, next_value: Array, discount: float) -> Array:
    """Expected SARSA target r + gamma V(s'), where V is the mean of Q (van Seijen et al., ADPRL 2009).

    Args:
      reward: float32 [...].
      terminated: bool [...].
      next_value: float32 [...], V of the next state.
      discount: gamma.

    Returns:
      float32 [...], without gradient. A truncated step bootstraps like a step within a session.
    """
    return jax.lax.stop_gradient(reward + discount * (1.0 - terminated) * next_value)


def of_action(values: Array, action: Array) -> Array:
    """The value of each action: maps values [..., N] and actions int [...] to [...]."""
    return jnp.take_along_axis(values, action[..., None], -1)[..., 0]


def divergence(logits: Array, other: Array) -> Array:
    """KL(softmax(logits) || softmax(other)) in nats: maps two arrays [..., N] to [...]."""
    log_policy, log_other = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return jnp.sum(jnp.exp(log_policy) * (log_policy - log_other), -1)


def entropy(logits: Array) -> Array:
    """Entropy of softmax(logits) in nats: maps [..., N] to [...]."""
    log_policy = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_policy) * log_policy, -1)


def log_prob(logits: Array, action: Array) -> Array:
    """Log-probability of each action: maps logits [..., N] and actions int [...] to [...]."""
    return of_action(logits, action) - jax.nn.logsumexp(logits, -1)

"""A-iALP_ap: acts with the mixture (1 - alpha) pi_theta + alpha pi_beta (iALP, section 3.3).

    loss = -rho A log pi_beta(a | s) + value_cost (G - V(s))^2 / 2 - entropy_cost H(pi_beta)

pi_theta is the pre-trained policy, frozen. pi_beta learns online while alpha grows. pi_beta starts from
pi_theta's parameters or at random (``start``). A is the advantage under the mixture, because the mixture
acts. The critic is part of pi_beta's network and learns the value of the mixture. The gradient of pi_beta is

- ``gradient="importance"``: -rho A grad log pi_beta(a | s), with rho = min(pi_beta / mixture, max_ratio).
  This is pi_beta's own policy gradient, estimated from actions of the mixture. pi_beta learns at full speed
  even while alpha is small.
- ``gradient="mixture"``: -A grad log mixture(a | s), the exact on-policy gradient of the mixture. It weights
  grad log pi_beta by alpha pi_beta / mixture, so pi_beta learns nothing while alpha is 0.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ialp_jax.agents.acting import two_encoders
from ialp_jax.agents.actor_critic import initialiser, on_policy_update, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam
from ialp_jax.agents.config import MixtureConfig
from ialp_jax.agents.distinct import apply_to_rollout
from ialp_jax.agents.losses import log_prob
from ialp_jax.agents.sampling import sample_mixture
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def mixture(config: MixtureConfig, network: ActorCritic, total_env_steps: int) -> Agent:
    """A-iALP_ap: acts with a mixture of the frozen and the learning policy.

    Args:
      config: A2C's settings, the schedule of alpha, and the start and the gradient of pi_beta.
      network: network of both policies.
      total_env_steps: length of the schedule in env steps if ``alpha_steps`` is 0.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False, encoded: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        share = alpha(config, state.env_steps, total_env_steps)
        seen = encoded or (observation.history, observation.history)
        frozen, output = map(network.apply, (state.memory, state.params), seen)
        theta, beta = (mask_shown(one.logits, observation.shown) for one in (frozen, output))
        if greedy:
            mixed = log_mixture(jax.nn.log_softmax(theta), jax.nn.log_softmax(beta), share)
            action: Array = jnp.argmax(mixed, -1).astype(jnp.int32)
        else:
            action = sample_mixture(key, theta, beta, share)
        # Stores alpha, so that the loss uses the mixture with which the agent acted.
        return action, {
            "theta_log_prob": log_prob(theta, action),
            "alpha": jnp.broadcast_to(share, action.shape),
            "value": output.value,
        }

    def loss(
        params: Params, state: AgentState, batch: Transition, advantages: Array, returns: Array
    ) -> tuple[Array, Metrics]:
        del state
        return mixture_loss(config, network, params, batch, advantages, returns)

    return Agent(
        initialiser(config, network, optimiser, keeps_frozen=True),
        act,
        on_policy_update(config, network, optimiser, loss),
        config.num_users,
        config.rollout_length,
        encoder=two_encoders(network, lambda state: state.memory),
    )


def mixture_loss(
    config: MixtureConfig,
    network: ActorCritic,
    params: Params,
    batch: Transition,
    advantages: Array,
    returns: Array,
) -> tuple[Array, Metrics]:
    """The loss of pi_beta and the critic (both in ``params``), for actions that the mixture chose.

    ``batch.extras`` holds two values that `act` stored: ``theta_log_prob`` and ``alpha``, both [T, B].
    """
    output = apply_to_rollout(network, params, batch.observation.history)
    logits = mask_shown(output.logits, batch.observation.shown)
    beta = log_prob(logits, batch.action)
    mixed = log_mixture(batch.extras["theta_log_prob"], beta, batch.extras["alpha"])
    ratio = jax.lax.stop_gradient(jnp.exp(beta - mixed))
    if config.gradient == "importance":
        actor = -jnp.mean(jnp.minimum(ratio, config.max_ratio) * advantages * beta)
    else:
        actor = -jnp.mean(advantages * mixed)
    value, metrics = with_critic_and_entropy(config, actor, output.value, returns, logits)
    return value, {**metrics, "ratio": jnp.mean(ratio), "alpha": jnp.mean(batch.extras["alpha"])}


def log_mixture(theta: Array, beta: Array, share: Array) -> Array:
    """log((1 - share) exp(theta) + share exp(beta)), elementwise; finite even if ``share`` is 0 or 1."""
    tiny = jnp.finfo(jnp.float32).tiny
    frozen = theta + jnp.log(jnp.maximum(1.0 - share, tiny))
    learned = beta + jnp.log(jnp.maximum(share, tiny))
    return jnp.logaddexp(frozen, learned)


def alpha(config: MixtureConfig, env_steps: Array, total_env_steps: int) -> Array:
    """The share of pi_beta after ``env_steps``, float32 [].

    p is the fraction of ``alpha_steps`` that has passed. linear: alpha_start + (alpha_end - alpha_start) p.
    cosine: the linear formula with (1 - cos(pi p)) / 2 instead of p. constant: alpha_start.

    evidence: the linear formula with n / (n + n0) instead of p, after n env steps with n0 = ``alpha_steps``.
    This is the weight of n observations beside a prior that is worth n0 observations, as in the posterior
    mean of a Beta or Gaussian distribution. pi_theta is the prior, and pi_beta learned from the observations.
    alpha grows fastest at the start, is half-way after n0 env steps, and never quite reaches alpha_end.
    """
    length = config.alpha_steps or total_env_steps
    progress = jnp.clip(env_steps / length, 0.0, 1.0)
    if config.schedule == "evidence":
        progress = jnp.asarray(env_steps / (env_steps + length))
    elif config.schedule == "constant":
        progress = jnp.zeros_like(progress)
    elif config.schedule == "cosine":
        progress = 0.5 * (1.0 - jnp.cos(jnp.pi * progress))
    return config.alpha_start + (config.alpha_end - config.alpha_start) * progress

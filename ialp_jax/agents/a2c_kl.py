"""A2C with a penalty: the Kullback-Leibler divergence from the frozen pre-trained policy pi_theta.

    loss = loss of A2C + kl_cost KL(pi || pi_theta)        (``kl_direction="reverse"``)
    loss = loss of A2C + kl_cost KL(pi_theta || pi)        (``kl_direction="forward"``)

``reverse`` is KL-control (Jaques et al., "Sequence Tutor", ICML 2017, arXiv 1611.02796). Its authors add the
divergence to the reward; we differentiate the divergence exactly. ``forward`` is, up to a constant, the loss
of "Kickstarting" (Schmitt et al., 2018, arXiv 1803.03835): the cross-entropy with a teacher policy.
Kickstarting adapts the weight of this loss by population-based training. Here the weight falls linearly from
``kl_cost`` to ``kl_cost_end``. The learner starts from the frozen policy, so the divergence starts at 0.
"""

from __future__ import annotations

import jax.numpy as jnp

from ialp_jax.agents.acting import sampler, sampler_encoder
from ialp_jax.agents.actor_critic import initialiser, on_policy_update, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, linear
from ialp_jax.agents.config import KLConfig
from ialp_jax.agents.distinct import apply_to_rollout
from ialp_jax.agents.losses import divergence, log_prob
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Transition


def a2c_kl(config: KLConfig, network: ActorCritic, total_env_steps: int) -> Agent:
    """A2C with a penalty on the divergence from the pre-trained policy; the weight of the penalty decays.

    Args:
      config: A2C's settings, and the weight of the divergence.
      network: actor and critic.
      total_env_steps: length of the decay in env steps if ``kl_steps`` is 0.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def loss(
        params: Params, state: AgentState, batch: Transition, advantages: Array, returns: Array
    ) -> tuple[Array, Metrics]:
        history, shown = batch.observation
        output = apply_to_rollout(network, params, history)
        logits = mask_shown(output.logits, shown)
        frozen = mask_shown(apply_to_rollout(network, state.memory, history).logits, shown)
        pair = (logits, frozen) if config.kl_direction == "reverse" else (frozen, logits)
        kl, cost = jnp.mean(divergence(*pair)), kl_cost(config, state.env_steps, total_env_steps)
        actor = -jnp.mean(advantages * log_prob(logits, batch.action))
        value, metrics = with_critic_and_entropy(config, actor, output.value, returns, logits)
        return value + cost * kl, {**metrics, "kl": kl, "kl_cost": cost}

    return Agent(
        initialiser(config, network, optimiser, keeps_frozen=True),
        sampler(network),
        on_policy_update(config, network, optimiser, loss),
        config.num_users,
        config.rollout_length,
        encoder=sampler_encoder(network),
    )


def kl_cost(config: KLConfig, env_steps: Array, total_env_steps: int) -> Array:
    """The weight of the divergence after ``env_steps``, float32 []."""
    return linear(config.kl_cost, config.kl_cost_end, env_steps, config.kl_steps or total_env_steps)

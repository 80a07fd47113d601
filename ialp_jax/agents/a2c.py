"""Synchronous advantage actor-critic (A2C; Mnih et al., ICML 2016, arXiv 1602.01783).

    loss = -A(s, a) log pi(a | s) + value_cost (G - V(s))^2 / 2 - entropy_cost H(pi),

with generalised advantages A (Schulman et al., ICLR 2016, equation 16) and lambda returns G = A + V.

Three agents use this code. The baseline ``a2c`` starts from scratch. ``a_ialp_ft`` (A-iALP_ft; iALP,
section 3.3) starts from a policy that is pre-trained on labels. ``a2c_warm`` starts from a policy that is
pre-trained on logs.
"""

from __future__ import annotations

import jax.numpy as jnp

from ialp_jax.agents.acting import sampler, sampler_encoder
from ialp_jax.agents.actor_critic import initialiser, on_policy_update, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam
from ialp_jax.agents.config import A2CConfig
from ialp_jax.agents.distinct import apply_to_rollout
from ialp_jax.agents.losses import log_prob
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Transition


def a2c(config: A2CConfig, network: ActorCritic) -> Agent:
    """Advantage actor-critic; starts from pre-trained parameters if `Agent.init` gets any.

    Args:
      config: learning rate, discount, trace and costs; a `WarmA2CConfig` if there are pre-trained parameters.
      network: actor and critic.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def loss(
        params: Params, state: AgentState, batch: Transition, advantages: Array, returns: Array
    ) -> tuple[Array, Metrics]:
        del state
        output = apply_to_rollout(network, params, batch.observation.history)
        logits = mask_shown(output.logits, batch.observation.shown)
        actor = -jnp.mean(advantages * log_prob(logits, batch.action))
        return with_critic_and_entropy(config, actor, output.value, returns, logits)

    return Agent(
        initialiser(config, network, optimiser),
        sampler(network),
        on_policy_update(config, network, optimiser, loss),
        config.num_users,
        config.rollout_length,
        encoder=sampler_encoder(network),
    )

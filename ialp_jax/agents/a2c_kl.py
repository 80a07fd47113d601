"""A2C held near the frozen pre-trained policy by a Kullback-Leibler divergence.

``kl_direction="reverse"``: KL(pi || pi_theta) as a cost on the learner, KL-control (Jaques et al., "Sequence
Tutor", ICML 2017, arXiv 1611.02796), here differentiated exactly instead of put into the reward.
``kl_direction="forward"``: KL(pi_theta || pi), up to a constant the cross-entropy with the teacher of
"Kickstarting" (Schmitt et al. 2018, arXiv 1803.03835). Kickstarting anneals its weight by population-based
training; here it falls linearly from ``kl_cost`` to ``kl_cost_end``. The learner starts from the frozen
policy, so that the divergence starts at 0.
"""

from __future__ import annotations

import jax.numpy as jnp

from ialp_jax.agents.a2c import act_on_logits, estimate, starting_params, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state, linear
from ialp_jax.agents.config import KLConfig
from ialp_jax.agents.losses import divergence, log_prob
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def a2c_kl(config: KLConfig, network: ActorCritic, total_env_steps: int) -> Agent:
    """A2C whose policy is held near the pre-trained one, by a divergence whose weight decays.

    Args:
      config: A2C's settings, and the weight of the divergence.
      network: actor and critic.
      total_env_steps: what the decay spans where ``kl_steps`` is 0.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = network.init(key, observation.history)
        theta = fresh if pretrained is None else pretrained
        return fresh_state(starting_params(config, fresh, pretrained), optimiser, memory=theta)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        return act_on_logits(network, state.params, observation, key, greedy)

    def loss(
        params: Params, theta: Params, cost: Array, batch: Transition, targets: tuple[Array, Array]
    ) -> tuple[Array, Metrics]:
        advantages, returns = targets
        shown = batch.observation.shown
        output = network.apply(params, batch.observation.history)
        logits = mask_shown(output.logits, shown)
        frozen = mask_shown(network.apply(theta, batch.observation.history).logits, shown)
        pair = (logits, frozen) if config.kl_direction == "reverse" else (frozen, logits)
        apart = jnp.mean(divergence(*pair))
        actor = -jnp.mean(advantages * log_prob(logits, batch.action))
        value, metrics = with_critic_and_entropy(config, actor, output.value, returns, logits)
        return value + cost * apart, {**metrics, "kl": apart, "kl_cost": cost}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        targets = estimate(network, state.params, batch, config)
        cost = kl_cost(config, state.env_steps, total_env_steps)
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, state.memory, cost, batch, targets), state.params, state.opt_state
        )
        steps = state.env_steps + batch.reward.size
        return AgentState(params, opt_state, steps, state.memory), metrics

    return Agent(init, act, update, config.num_users, config.rollout_length)


def kl_cost(config: KLConfig, env_steps: Array, total_env_steps: int) -> Array:
    """The weight of the divergence after ``env_steps``, float32 []."""
    return linear(config.kl_cost, config.kl_cost_end, env_steps, config.kl_steps or total_env_steps)

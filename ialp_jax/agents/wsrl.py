"""Warm-start reinforcement learning (WSRL; Zhou et al., ICLR 2025, arXiv 2412.07762).

    loss = `offpolicy.actor_critic_loss` on online replay; for ``warmup_steps`` only the critic's heads learn

During the warm-up, the pre-trained policy collects experience and does not change. Afterwards, an off-policy
actor-critic (SAC in the paper) continues from the pre-trained policy and critic. Its replay buffer contains
the collected experience, but no offline data. In the paper, nothing is updated during the warm-up.
Afterwards, many gradient steps per env step recalibrate the critic. Here the critic's heads already learn
during the warm-up, because the budget allows only few gradient steps. The encoder, which policy and critic
share, does not change during the warm-up. We use one critic; the paper uses ten.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.agents.acting import sampler, sampler_encoder
from ialp_jax.agents.actor_critic import starting_params
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, fresh_state
from ialp_jax.agents.config import WSRLConfig
from ialp_jax.agents.offpolicy import actor_critic_loss, fresh_memory, learn_from_replay
from ialp_jax.networks.heads import CRITIC_HEADS, ActorCritic, initial_params
from ialp_jax.types import Array, Key, Observation, Transition


def wsrl(config: WSRLConfig, network: ActorCritic) -> Agent:
    """Off-policy agent that continues from the pre-trained policy after a warm-up.

    Args:
      config: length of the warm-up, and settings of replay.
      network: actor and duelling critic.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = starting_params(config, initial_params(network, key, observation.history), pretrained)
        return fresh_state(params, optimiser, fresh_memory(config, params, observation))

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        warm = state.env_steps >= config.warmup_steps

        def loss(params: Params, target: Params, sampled: Transition, loss_key: Key) -> tuple[Array, Metrics]:
            del loss_key
            return actor_critic_loss(config, network, held_until(warm, params), target, sampled)

        after, metrics = learn_from_replay(config, optimiser, loss, state, batch, key)
        return after, {**metrics, "warm": warm.astype(jnp.float32)}

    return Agent(
        init,
        sampler(network),
        update,
        config.num_users,
        config.rollout_length,
        encoder=sampler_encoder(network),
    )


def held_until(free: Array, params: Params) -> Params:
    """The same parameters; if ``free`` is false, only the critic's heads get gradients."""

    def part(name: str, tree: Params) -> Params:
        if name in CRITIC_HEADS:
            return tree
        return jax.tree.map(lambda leaf: jnp.where(free, leaf, jax.lax.stop_gradient(leaf)), tree)

    return {"params": {name: part(name, tree) for name, tree in params["params"].items()}}

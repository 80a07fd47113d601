"""Warm-start reinforcement learning (WSRL; Zhou et al., ICLR 2025, arXiv 2412.07762).

    loss = `offpolicy.actor_critic_loss` on online replay; for ``warmup_steps`` only the critic's heads learn

During the warm-up the pre-trained policy, unchanged, collects experience. Afterwards the off-policy
actor-critic (SAC in the paper) goes on from the pre-trained policy and critic. Its replay holds that
experience and no offline data. The paper makes no update during the warm-up and recalibrates its critic
afterwards, by many gradient steps per env step. Here the critic's heads learn during the warm-up already,
because the budget allows few gradient steps. The encoder, which policy and critic share, does not change
then. One critic instead of ten.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.agents.actor_critic import sampler, starting_params
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, fresh_state
from ialp_jax.agents.config import WSRLConfig
from ialp_jax.agents.offpolicy import actor_critic_loss, fresh_memory, learn_from_replay
from ialp_jax.networks.heads import CRITIC_HEADS, ActorCritic
from ialp_jax.types import Array, Key, Observation, Transition


def wsrl(config: WSRLConfig, network: ActorCritic) -> Agent:
    """Off-policy agent that goes on from the pre-trained policy, after that policy has collected experience.

    Args:
      config: how long it only acts, and how to learn from replay.
      network: actor and duelling critic.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = starting_params(config, network.init(key, observation.history), pretrained)
        return fresh_state(params, optimiser, fresh_memory(config, params, observation))

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        warm = state.env_steps >= config.warmup_steps

        def loss(params: Params, target: Params, sampled: Transition, loss_key: Key) -> tuple[Array, Metrics]:
            del loss_key
            return actor_critic_loss(config, network, held_until(warm, params), target, sampled)

        after, metrics = learn_from_replay(config, optimiser, loss, state, batch, key)
        return after, {**metrics, "warm": warm.astype(jnp.float32)}

    return Agent(init, sampler(network), update, config.num_users, config.rollout_length)


def held_until(free: Array, params: Params) -> Params:
    """The same parameters; if ``free`` is false, only the critic's heads get gradients."""

    def part(name: str, tree: Params) -> Params:
        if name in CRITIC_HEADS:
            return tree
        return jax.tree.map(lambda leaf: jnp.where(free, leaf, jax.lax.stop_gradient(leaf)), tree)

    return {"params": {name: part(name, tree) for name, tree in params["params"].items()}}

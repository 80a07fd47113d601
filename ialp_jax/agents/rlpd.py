"""Reinforcement learning with prior data (RLPD; Ball et al., ICML 2023, arXiv 2302.02948).

    loss = `offpolicy.actor_critic_loss` on batches: half labelled, half online transitions (section 4.1)

The learner is an off-policy actor-critic for discrete actions; in the paper it is SAC. Our learner starts
from the pre-trained network; the paper's learner starts from scratch. In the paper (section 4.2), a layer
norm bounds the critic. Our critic reads the state after the encoder's last layer norm, but it multiplies the
state with an item table that is not normalised. We use one critic and few gradient steps per env step,
because the budget is that of the other agents. The paper uses ten critics and 20 gradient steps. Labels have
their own rewards (1 for the chosen candidate); in the paper, rewards of prior data come from the environment.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.agents import replay as replay_lib
from ialp_jax.agents.acting import sampler, sampler_encoder
from ialp_jax.agents.actor_critic import starting_params
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, fresh_state
from ialp_jax.agents.config import RLPDConfig
from ialp_jax.agents.offpolicy import actor_critic_loss, fresh_memory, learn_from_replay
from ialp_jax.keys import stream
from ialp_jax.networks.heads import ActorCritic, initial_params
from ialp_jax.types import Array, Key, Observation, Transition


def rlpd(config: RLPDConfig, network: ActorCritic, labelled: Transition) -> Agent:
    """Off-policy actor-critic. A part of each batch comes from labelled transitions.

    Args:
      config: the share of labelled transitions, and settings of replay.
      network: actor and duelling critic.
      labelled: transitions [M] made from labels; their ``extras`` are not used.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = starting_params(config, initial_params(network, key, observation.history), pretrained)
        prior = jax.tree.map(jnp.asarray, labelled._replace(extras={}))
        return fresh_state(params, optimiser, fresh_memory(config, params, observation, prior))

    def loss(params: Params, target: Params, batch: Transition, key: Key) -> tuple[Array, Metrics]:
        del key
        return actor_critic_loss(config, network, params, target, batch)

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        def draw(replay: replay_lib.Replay, draw_key: Key) -> Transition:
            return draw_both(replay, state.memory.fixed, draw_key, config.batch_size, config.labelled_share)

        return learn_from_replay(config, optimiser, loss, state, batch, key, draw)

    return Agent(
        init,
        sampler(network),
        update,
        config.num_users,
        config.rollout_length,
        encoder=sampler_encoder(network),
    )


def draw_both(
    replay: replay_lib.Replay, labelled: Transition, key: Key, count: int, share: float
) -> Transition:
    """Draws ``count`` transitions with replacement: a ``share`` of labelled ones, the rest from replay."""
    prior = round(share * count)
    rows = jax.random.randint(stream(key, "labelled"), (prior,), 0, len(labelled.reward))
    first = jax.tree.map(lambda leaf: leaf[rows], labelled)
    second = replay_lib.draw(replay, stream(key, "online"), count - prior)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)

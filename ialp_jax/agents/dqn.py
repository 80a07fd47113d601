"""Double DQN (van Hasselt et al., AAAI 2016, equation 4) with replay and a target network.

    loss = Huber(Q(s, a) - (r + gamma Q_target(s', argmax_b Q(s', b))))

A share of the actions is random, and this share falls with the env steps. All other actions are greedy.
Replay and the target network are from Mnih et al., Nature 2015.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents.acting import encoder
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, fresh_state, linear
from ialp_jax.agents.config import DQNConfig
from ialp_jax.agents.losses import of_action, q_target
from ialp_jax.agents.offpolicy import fresh_memory, learn_from_replay
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import QNetwork, initial_params, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def dqn(config: DQNConfig, network: QNetwork) -> Agent:
    """Double DQN with replay; it explores at random with a probability that decays.

    Args:
      config: settings of replay, exploration and the target network.
      network: Q values of all items.
    """
    optimiser = adam(config.learning_rate)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = initial_params(network, key, observation.history) if pretrained is None else pretrained
        return fresh_state(params, optimiser, fresh_memory(config, params, observation))

    def q_values(params: Params, observation: Observation, encoded: Any = None) -> Array:
        seen = observation.history if encoded is None else encoded
        return mask_shown(network.apply(params, seen), observation.shown)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False, encoded: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        values = q_values(state.params, observation, encoded)
        best = jnp.argmax(values, -1).astype(jnp.int32)
        if greedy:
            return best, {}
        explore_key, item_key = jax.random.split(key)
        explore = jax.random.uniform(explore_key, best.shape) < epsilon(config, state.env_steps)
        other = sample(item_key, mask_shown(jnp.zeros_like(values), observation.shown))
        return jnp.where(explore, other, best), {}

    def loss(params: Params, target: Params, batch: Transition) -> tuple[Array, Metrics]:
        values = q_values(params, batch.observation)
        chosen = of_action(values, batch.action)
        targets = jax.vmap(q_target, in_axes=(0, 0, 0, 0, None))(
            batch.reward,
            batch.terminated,
            q_values(params, batch.next_observation),
            q_values(target, batch.next_observation),
            config.discount,
        )
        return jnp.mean(optax.losses.huber_loss(chosen, targets)), {"q": jnp.mean(chosen)}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        def td(params: Params, target: Params, sampled: Transition, key: Key) -> tuple[Array, Metrics]:
            del key
            return loss(params, target, sampled)

        after, metrics = learn_from_replay(config, optimiser, td, state, batch, key)
        return after, {**metrics, "epsilon": epsilon(config, state.env_steps)}

    return Agent(
        init,
        act,
        update,
        config.num_users,
        config.rollout_length,
        evaluated_greedy=True,
        encoder=encoder(network),
    )


def epsilon(config: DQNConfig, env_steps: Array) -> Array:
    """Share of random actions after ``env_steps``: linear, then constant."""
    return linear(config.epsilon_start, config.epsilon_end, env_steps, config.epsilon_steps)

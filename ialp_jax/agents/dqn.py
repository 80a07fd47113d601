"""Double DQN with a target network and replay (Mnih et al. 2015; van Hasselt et al., AAAI 2016)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents import replay as replay_lib
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state
from ialp_jax.agents.config import DQNConfig
from ialp_jax.agents.losses import q_target
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import QNetwork, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


class Memory(NamedTuple):
    """What DQN keeps beside its network."""

    target: Params
    replay: replay_lib.Replay


def dqn(config: DQNConfig, network: QNetwork) -> Agent:
    """The agent."""
    optimiser = adam(config.learning_rate)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = network.init(key, observation.history) if pretrained is None else pretrained
        memory = Memory(params, replay_lib.empty(observation, config.capacity))
        return fresh_state(params, optimiser, memory)

    def q_values(params: Params, observation: Observation) -> Array:
        return mask_shown(network.apply(params, observation.history), observation.shown)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        values = q_values(state.params, observation)
        best = jnp.argmax(values, -1).astype(jnp.int32)
        if greedy:
            return best, {}
        explore_key, item_key = jax.random.split(key)
        explore = jax.random.uniform(explore_key, best.shape) < epsilon(config, state.env_steps)
        other = sample(item_key, mask_shown(jnp.zeros_like(values), observation.shown))
        return jnp.where(explore, other, best), {}

    def loss(params: Params, target: Params, batch: Transition) -> tuple[Array, Metrics]:
        values = q_values(params, batch.observation)
        chosen = jnp.take_along_axis(values, batch.action[:, None], -1)[:, 0]
        targets = jax.vmap(q_target, in_axes=(0, 0, 0, 0, None))(
            batch.reward,
            batch.terminated,
            q_values(params, batch.next_observation),
            q_values(target, batch.next_observation),
            config.discount,
        )
        return jnp.mean(optax.losses.huber_loss(chosen, targets)), {"q": jnp.mean(chosen)}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        replay = replay_lib.add(state.memory.replay, batch)

        def step(carry: tuple, step_key: Key) -> tuple[tuple, Metrics]:
            params, opt_state, target = carry
            sampled = replay_lib.draw(replay, step_key, config.batch_size)
            params, opt_state, metrics = descend(
                optimiser, lambda p: loss(p, target, sampled), params, opt_state
            )
            target = optax.incremental_update(params, target, config.target_rate)
            return (params, opt_state, target), metrics

        carry = (state.params, state.opt_state, state.memory.target)
        keys = jax.random.split(key, config.gradient_steps)
        (params, opt_state, target), metrics = jax.lax.scan(step, carry, keys)
        metrics = {**jax.tree.map(jnp.mean, metrics), "epsilon": epsilon(config, state.env_steps)}
        steps = state.env_steps + batch.reward.size
        return AgentState(params, opt_state, steps, Memory(target, replay)), metrics

    return Agent(init, act, update, config.num_users, config.rollout_length, evaluated_greedy=True)


def epsilon(config: DQNConfig, env_steps: Array) -> Array:
    """Share of random actions after ``env_steps``: linear, then constant."""
    progress = jnp.clip(env_steps / config.epsilon_steps, 0.0, 1.0)
    return config.epsilon_start + progress * (config.epsilon_end - config.epsilon_start)

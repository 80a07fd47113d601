"""Learning from replay: the update that all such agents share, and the loss of RLPD and WSRL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents import replay as replay_lib
from ialp_jax.agents.base import AgentState, Metrics, Params, descend
from ialp_jax.agents.config import DQNConfig, OffPolicyConfig
from ialp_jax.agents.losses import entropy, of_action, value_target
from ialp_jax.keys import stream
from ialp_jax.networks.heads import ActorCritic, centred_q, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition

# (params, target params, transitions [batch], key) -> (loss, metrics)
ReplayLoss = Callable[[Params, Params, Transition, Key], tuple[Array, Metrics]]
Draw = Callable[[replay_lib.Replay, Key], Transition]

Carry = tuple[Params, optax.OptState, Params]  # parameters, optimiser, target network


class Memory(NamedTuple):
    """Memory of an agent that learns from replay.

    Attributes:
      target: parameters of the target network.
      replay: replay buffer of the agent's own experience.
      fixed: data that never changes: a frozen policy, labelled transitions, or nothing.
    """

    target: Params
    replay: replay_lib.Replay
    fixed: Any = ()


def fresh_memory(
    config: DQNConfig | OffPolicyConfig, params: Params, observation: Observation, fixed: Any = ()
) -> Memory:
    """The memory before the first update."""
    return Memory(params, replay_lib.empty(observation, config.capacity), fixed)


def learn_from_replay(
    config: DQNConfig | OffPolicyConfig,
    optimiser: optax.GradientTransformation,
    loss: ReplayLoss,
    state: AgentState,
    batch: Transition,
    key: Key,
    draw: Draw | None = None,
) -> tuple[AgentState, Metrics]:
    """Adds new experience to the replay buffer, then takes gradient steps, each on a newly drawn batch.

    Args:
      config: batch size, gradient steps, target rate.
      optimiser: optimiser of the parameters.
      loss: loss on drawn transitions.
      state: state of the agent; its memory is a `Memory`.
      batch: new transitions [T, B].
      key: consumed.
      draw: function that draws a batch; by default ``batch_size`` transitions from the replay buffer.

    Returns:
      The new state, and metrics averaged over the gradient steps.
    """
    replay = replay_lib.add(state.memory.replay, batch)
    draw = draw or (lambda buffer, draw_key: replay_lib.draw(buffer, draw_key, config.batch_size))

    def step(carry: Carry, step_key: Key) -> tuple[Carry, Metrics]:
        params, opt_state, target = carry
        sampled, loss_key = draw(replay, step_key), stream(step_key, "loss")
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, target, sampled, loss_key), params, opt_state
        )
        target = optax.incremental_update(params, target, config.target_rate)
        return (params, opt_state, target), metrics

    carry = (state.params, state.opt_state, state.memory.target)
    keys = jax.random.split(key, config.gradient_steps)
    (params, opt_state, target), metrics = jax.lax.scan(step, carry, keys)
    memory = state.memory._replace(target=target, replay=replay)
    after = AgentState(params, opt_state, state.env_steps + batch.reward.size, memory)
    return after, jax.tree.map(jnp.mean, metrics)


def actor_critic_loss(
    config: OffPolicyConfig, network: ActorCritic, params: Params, target: Params, batch: Transition
) -> tuple[Array, Metrics]:
    """Soft actor-critic for discrete actions (Christodoulou 2019, arXiv 1910.07207) on the duelling network.

    Critic: the Huber loss between Q(s, a) and r + gamma V(s'). V comes from the target network: it is the
    mean of that network's Q values under its policy. Actor: -sum_a pi(a | s) (Q(s, a) - V(s)) over all items,
    without gradient through the critic. This is the exact policy gradient, so replayed actions need no
    importance weights. The entropy bonus has a constant weight in the actor's loss. As in A2C, the critic's
    target contains no entropy.

    Args:
      config: discount, weights.
      network: actor and duelling critic.
      params: parameters that are learned.
      target: parameters of the target network.
      batch: transitions [batch], made by any policy.

    Returns:
      The loss, float32 [], and metrics.
    """
    shown = batch.observation.shown
    output = network.apply(params, batch.observation.history)
    following = network.apply(target, batch.next_observation.history)
    targets = value_target(batch.reward, batch.terminated, following.value, config.discount)
    values = centred_q(output, shown)
    chosen = of_action(values, batch.action)
    critic = jnp.mean(optax.losses.huber_loss(chosen, targets))
    logits = mask_shown(output.logits, shown)
    advantages = jax.lax.stop_gradient(values - output.value[..., None])
    actor = -jnp.mean(jnp.sum(jax.nn.softmax(logits) * advantages, -1))
    return with_parts(config, actor, critic, logits, chosen)


def with_parts(
    config: OffPolicyConfig, actor: Array, critic: Array, logits: Array, chosen: Array
) -> tuple[Array, Metrics]:
    """The whole loss: actor + critic_cost * critic - entropy_cost * entropy; and metrics."""
    bonus = jnp.mean(entropy(logits))
    total = actor + config.critic_cost * critic - config.entropy_cost * bonus
    return total, {"actor_loss": actor, "critic_loss": critic, "entropy": bonus, "q": jnp.mean(chosen)}

"""Learning from replay: the update of every agent that does, and the actor-critic of RLPD and WSRL."""

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
      target: slow copy of the parameters.
      replay: of its own experience.
      fixed: never changes: a frozen policy or labelled transitions, or empty.
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
    """Adds new experience and takes ``gradient_steps`` steps, each on a new batch.

    Args:
      config: batch size, gradient steps, target rate.
      optimiser: of the parameters.
      loss: on drawn transitions.
      state: whose memory is a `Memory`.
      batch: new transitions [T, B].
      key: consumed.
      draw: gives a batch; by default ``batch_size`` transitions of the replay buffer.

    Returns:
      The state afterwards, and metrics averaged over the gradient steps.
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

    Critic: Huber loss of Q(s, a) to r + gamma V(s') of the target network. Its V is the mean of its Q under
    its policy. Actor: -sum_a pi(a | s) (Q(s, a) - V(s)), over all items, with the critic held constant: the
    exact policy gradient, so that old actions need no importance weights. Entropy has a constant weight in
    the actor's loss and none in the critic's target, as for A2C.

    Args:
      config: discount, weights.
      network: actor and duelling critic.
      params: learned.
      target: of the target network.
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

"""REINFORCE with a learned baseline (Williams 1992; Sutton and Barto 2018, section 13.4).

    loss = -(G - V(s)) log pi(a | s) + value_cost (G - V(s))^2 / 2 - entropy_cost H(pi)

The loss is a mean over the steps from which the agent learns in this update. Monte Carlo returns G need
complete sessions, and a session may span several rollouts. So the agent stores the latest rollouts of every
user. It learns from each step once, in the first update after the session has ended.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.agents.acting import sampler, sampler_encoder
from ialp_jax.agents.actor_critic import scaled, weighted_mean, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state
from ialp_jax.agents.config import PGConfig
from ialp_jax.agents.distinct import apply_to_rollout
from ialp_jax.agents.losses import log_prob, reward_to_go
from ialp_jax.networks.heads import ActorCritic, initial_params, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def pg(config: PGConfig, network: ActorCritic) -> Agent:
    """REINFORCE with a learned baseline; H, the maximum session length, follows from the observation's shape.

    Args:
      config: learning rate, discount and entropy.
      network: actor and critic; the critic is the baseline.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = initial_params(network, key, observation.history) if pretrained is None else pretrained
        horizon = observation.shown.shape[-1] - observation.history.shape[-1]
        window = _empty_window(observation, horizon, config)
        return fresh_state(params, optimiser, window)

    def loss(params: Params, window: Transition, weight: Array, returns: Array) -> tuple[Array, Metrics]:
        output = apply_to_rollout(network, params, window.observation.history)
        logits = mask_shown(output.logits, window.observation.shown)
        advantages = scaled(config, jax.lax.stop_gradient(returns - output.value), weight)
        actor = -weighted_mean(advantages * log_prob(logits, window.action), weight)
        return with_critic_and_entropy(config, actor, output.value, returns, logits, weight)

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        window = jax.tree.map(
            lambda old, new: jnp.concatenate([old[len(new) :], new]), state.memory, batch._replace(extras={})
        )
        weight, returns = _complete_now(network, state.params, window, batch.reward.shape[0], config)
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, window, weight, returns), state.params, state.opt_state
        )
        metrics["complete"] = weight.mean()
        return AgentState(params, opt_state, state.env_steps + batch.reward.size, window), metrics

    return Agent(
        init,
        sampler(network),
        update,
        config.num_users,
        config.rollout_length,
        encoder=sampler_encoder(network),
    )


def _empty_window(observation: Observation, horizon: int, config: PGConfig) -> Transition:
    """Empty storage [W, B] for the latest W = rollout_length + H steps of each user.

    W steps contain every session that ends in the newest rollout. ``action`` -1 marks steps that never
    happened.
    """
    lead = (config.rollout_length + horizon, config.num_users)
    empty = jax.tree.map(lambda leaf: jnp.zeros((*lead, *leaf.shape), leaf.dtype), observation)
    flags = jnp.zeros(lead, bool)
    return Transition(empty, jnp.full(lead, -1, jnp.int32), jnp.zeros(lead), flags, flags, empty, {})


def _complete_now(
    network: ActorCritic, params: Params, window: Transition, new: int, config: PGConfig
) -> tuple[Array, Array]:
    """Weights [W, B], 1 for steps whose session ended in the last ``new`` steps, else 0; and returns [W, B].

    Args:
      network, params: contain the critic, which computes V of the final observation of truncated sessions.
      window: latest steps, [W, B].
      new: steps of the newest rollout.
      config: gamma.
    """
    ended = window.terminated | window.truncated
    last = apply_to_rollout(network, params, window.next_observation.history).value
    bootstrap = jax.lax.stop_gradient(last) * window.truncated
    per_user = jax.vmap(reward_to_go, in_axes=(1, 1, 1, None), out_axes=1)
    returns, complete = per_user(window.reward, ended, bootstrap, config.discount)
    # Earlier updates learned from all steps up to the last session end before the ``new`` steps.
    older = jnp.where(jnp.arange(len(ended))[:, None] < len(ended) - new, ended, False)
    finished_before = jnp.cumsum(older[::-1], 0)[::-1] > 0
    weight = complete & ~finished_before & (window.action >= 0)
    return weight.astype(jnp.float32), returns

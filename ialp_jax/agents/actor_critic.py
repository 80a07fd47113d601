"""Shared functions of actor-critic agents: initial state, acting rule, advantages, losses and update step.

Agent files use these functions and contain only their own losses and acting rules.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents.base import AgentState, Metrics, Params, descend, fresh_state
from ialp_jax.agents.config import A2CConfig, OffPolicyConfig, OnPolicyConfig
from ialp_jax.agents.distinct import apply_to_rollout
from ialp_jax.agents.losses import entropy, generalised_advantages
from ialp_jax.agents.sampling import sample, sample_streamed
from ialp_jax.networks.heads import CRITIC_HEADS, ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition

STREAM_FROM = 2**23  # number of logits; for more, streaming saves memory and is faster on a CPU

# (params, state, transitions [T, B], advantages [T, B], returns [T, B]) -> (loss, metrics)
OnPolicyLoss = Callable[[Params, AgentState, Transition, Array, Array], tuple[Array, Metrics]]


def initialiser(
    config: A2CConfig | OffPolicyConfig,
    network: ActorCritic,
    optimiser: optax.GradientTransformation,
    keeps_frozen: bool = False,
) -> Callable[..., AgentState]:
    """The `Agent.init` of A2C and of the agents that extend it.

    If there are pre-trained parameters, the learner starts from them, except if ``config.start`` is
    ``random``. ``config.critic_start`` decides whether the critic starts pre-trained or at random.

    Args:
      config: settings of the agent.
      network: network of the learner.
      optimiser: optimiser of the learner.
      keeps_frozen: whether the agent also stores a frozen copy of the pre-trained parameters in its memory.
    """

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = network.init(key, observation.history)
        if getattr(config, "start", "pretrained") == "random":
            params = fresh
        else:
            params = starting_params(config, fresh, pretrained)
        frozen = fresh if pretrained is None else pretrained
        return fresh_state(params, optimiser, memory=frozen if keeps_frozen else ())

    return init


def sampler(network: ActorCritic) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """The `Agent.act` that samples from the actor of ``state.params``; see `act_on_logits`."""

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        return act_on_logits(network, state.params, observation, key, greedy)

    return act


def on_policy_update(
    config: A2CConfig, network: ActorCritic, optimiser: optax.GradientTransformation, loss: OnPolicyLoss
) -> Callable[[AgentState, Transition, Key], tuple[AgentState, Metrics]]:
    """The `Agent.update` of A2C and of the agents that extend it: one gradient step on each rollout."""

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params, batch, config)
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, state, batch, advantages, returns), state.params, state.opt_state
        )
        return AgentState(params, opt_state, state.env_steps + batch.reward.size, state.memory), metrics

    return update


def starting_params(config: A2CConfig | OffPolicyConfig, fresh: Params, pretrained: Params | None) -> Params:
    """Pre-trained parameters, else fresh ones. ``critic_start`` selects the source of the critic's heads."""
    if pretrained is None:
        return fresh
    if config.critic_start == "pretrained":
        return pretrained
    return {"params": {**pretrained["params"], **{head: fresh["params"][head] for head in CRITIC_HEADS}}}


def act_on_logits(
    network: ActorCritic, params: Params, observation: Observation, key: Key, greedy: bool
) -> tuple[Array, dict[str, Array]]:
    """Samples from the actor, without shown items; if greedy, takes the most probable item.

    If the logits would need too much memory, sampling processes the items in chunks. The greedy choice always
    computes all logits.

    Returns:
      Actions, int32 [...], and extras with ``value`` [...], the critic's V, which `estimate` reads.
    """
    users = observation.history.shape[:-1]
    output = network.apply(params, observation.history)
    extras = {"value": output.value}
    if not greedy and len(users) == 1 and users[0] * network.num_items > STREAM_FROM:
        query, table, bias = network.apply(params, observation.history, method="actor_factors")
        chunk = max(1024, STREAM_FROM // 4 // users[0])
        return sample_streamed(key, query, table, bias, observation.shown, chunk), extras
    logits = mask_shown(output.logits, observation.shown)
    if greedy:
        return jnp.argmax(logits, -1).astype(jnp.int32), extras
    return sample(key, logits), extras


def estimate(
    network: ActorCritic, params: Params, batch: Transition, config: A2CConfig
) -> tuple[Array, Array]:
    """Advantages and lambda returns of transitions [T, B], without gradient.

    Args:
      network, params: contain the critic, which computes V of the next observations.
      batch: transitions; ``extras["value"]`` [T, B] is V of the observations, which `act` stored.
      config: discount and trace.
    """
    values = batch.extras["value"]
    advantages = jax.vmap(generalised_advantages, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)(
        batch.reward,
        values,
        next_values(network, params, batch),
        batch.terminated,
        batch.truncated,
        config.discount,
        config.trace,
    )
    return jax.lax.stop_gradient(advantages), jax.lax.stop_gradient(advantages + values)


def next_values(network: ActorCritic, params: Params, batch: Transition) -> Array:
    """V of the observation after each step [T, B]; for truncated steps, the session's final observation.

    While a session continues, ``extras["value"]`` of the next step already contains this value. So the critic
    evaluates at most two observations per user. They are the last one of the rollout, and the final one of a
    session that the horizon ended. A rollout that is not longer than the horizon has at most one such session
    per user. After a terminated step, V is not used.
    """
    history = batch.next_observation.history
    horizon = batch.observation.shown.shape[-1] - history.shape[-1]
    if batch.reward.shape[0] > horizon:
        return apply_to_rollout(network, params, history).value
    # For users whose sessions continue, both observations are the same, which is encoded once.
    cut = jnp.where(batch.truncated.any(0), jnp.argmax(batch.truncated, 0), -1)
    final = jnp.take_along_axis(history, cut[None, :, None] % len(history), 0)[0]
    beyond, last = apply_to_rollout(network, params, jnp.stack([final, history[-1]])).value
    following = jnp.concatenate([batch.extras["value"][1:], last[None]])
    return jnp.where(batch.truncated, beyond, following)


def with_critic_and_entropy(
    config: OnPolicyConfig,
    actor: Array,
    values: Array,
    returns: Array,
    logits: Array,
    weight: Array | None = None,
) -> tuple[Array, Metrics]:
    """The whole loss: actor + value_cost * critic - entropy_cost * entropy.

    The critic's loss and the entropy are means over all steps, weighted by ``weight`` if it is given.
    ``weight`` has the shape of ``values``.
    """
    mean = jnp.mean if weight is None else lambda steps: weighted_mean(steps, weight)
    critic = 0.5 * mean((returns - values) ** 2)
    bonus = mean(entropy(logits))
    total = actor + config.value_cost * critic - config.entropy_cost * bonus
    return total, {
        "actor_loss": actor,
        "critic_loss": critic,
        "entropy": bonus,
        "value": mean(values),
    }


def weighted_mean(steps: Array, weight: Array) -> Array:
    """The mean of ``steps`` with weights of 0 or 1; returns 0 if all weights are 0."""
    return jnp.sum(steps * weight) / jnp.maximum(jnp.sum(weight), 1.0)

"""Learning of actor-critic agents: initial state, advantages, losses and update step.

Agent files use these functions and those of `acting`. They contain only their own losses and acting rules.
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
from ialp_jax.networks.heads import CRITIC_HEADS, ActorCritic, initial_params, tempered
from ialp_jax.types import Array, Key, Observation, Transition

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
    ``random``. ``config.critic_start`` decides whether the critic starts pre-trained or at random. The policy
    starts at its temperature times ``config.temperature_factor``; a frozen copy keeps its temperature.

    Args:
      config: settings of the agent.
      network: network of the learner.
      optimiser: optimiser of the learner.
      keeps_frozen: whether the agent also stores a frozen copy of the pre-trained parameters in its memory.
    """

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = initial_params(network, key, observation.history)
        if getattr(config, "start", "pretrained") == "random":
            params = fresh
        else:
            params = starting_params(config, fresh, pretrained)
        frozen = fresh if pretrained is None else pretrained
        return fresh_state(params, optimiser, memory=frozen if keeps_frozen else ())

    return init


def on_policy_update(
    config: A2CConfig,
    network: ActorCritic,
    optimiser: optax.GradientTransformation,
    loss: OnPolicyLoss,
    learned: Callable[[Transition], Array | None] = lambda batch: None,
) -> Callable[[AgentState, Transition, Key], tuple[AgentState, Metrics]]:
    """The `Agent.update` of A2C and of the agents that extend it: one gradient step on each rollout.

    Args:
      config: settings of the agent.
      network: its network.
      optimiser: its optimiser.
      loss: its loss.
      learned: transitions [T, B] -> 1 for steps from which the actor learns, else 0; None: all steps.
    """

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params, batch, config, learned(batch))
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, state, batch, advantages, returns), state.params, state.opt_state
        )
        return AgentState(params, opt_state, state.env_steps + batch.reward.size, state.memory), metrics

    return update


def starting_params(config: A2CConfig | OffPolicyConfig, fresh: Params, pretrained: Params | None) -> Params:
    """Pre-trained parameters at ``temperature_factor`` times their temperature; ``fresh`` if they are None.

    ``critic_start`` selects the source of the critic's heads.
    """
    if pretrained is None:
        return fresh
    params = tempered(pretrained, config.temperature_factor)
    if config.critic_start == "pretrained":
        return params
    return {"params": {**params["params"], **{head: fresh["params"][head] for head in CRITIC_HEADS}}}


def estimate(
    network: ActorCritic, params: Params, batch: Transition, config: A2CConfig, weight: Array | None = None
) -> tuple[Array, Array]:
    """Advantages and lambda returns of transitions [T, B], without gradient.

    Args:
      network, params: contain the critic, which computes V of the next observations.
      batch: transitions; ``extras["value"]`` [T, B] is V of the observations, which `act` stored.
      config: discount, trace, and whether advantages are normalised; returns never are.
      weight: float [T, B], 1 for steps from which the actor learns, else 0; None: all steps.
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
    returns = advantages + values
    return jax.lax.stop_gradient(scaled(config, advantages, weight)), jax.lax.stop_gradient(returns)


def scaled(config: OnPolicyConfig, advantages: Array, weight: Array | None = None) -> Array:
    """Advantages with mean 0 and standard deviation 1, if the settings ask for it; otherwise unchanged.

    Mean and deviation are those of the steps with weight 1; None: of all steps. The scale of the policy
    gradient then no longer depends on the scale of the returns.

    Source: Andrychowicz et al., ICLR 2021, arXiv 2006.05990 (per minibatch advantage normalization).
    """
    if not config.normalise_advantages:
        return advantages
    steps = jnp.ones_like(advantages) if weight is None else weight
    centred = advantages - weighted_mean(advantages, steps)
    return centred / (jnp.sqrt(weighted_mean(centred**2, steps)) + 1e-6)


def next_values(network: ActorCritic, params: Params, batch: Transition) -> Array:
    """V of the observation after each step [T, B]; if it is truncated, V of the final observation.

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

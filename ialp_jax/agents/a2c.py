"""Advantage actor-critic (Mnih et al., ICML 2016), synchronous, with generalised advantages.

From scratch it is the baseline ``a2c``; from a policy pre-trained on labels ``a_ialp_ft``; from one
pre-trained on logs ``a2c_warm``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state
from ialp_jax.agents.config import A2CConfig, OffPolicyConfig
from ialp_jax.agents.losses import entropy, generalised_advantages, log_prob
from ialp_jax.agents.sampling import sample, sample_streamed
from ialp_jax.networks.heads import CRITIC_HEADS, ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition

STREAM_FROM = 2**23  # users times items; beyond it, on a CPU, streaming is also the faster way


def a2c(config: A2CConfig, network: ActorCritic) -> Agent:
    """Advantage actor-critic; pre-trained parameters, where `Agent.init` is given any, are where it starts.

    Args:
      config: learning rate, discount, trace and costs.
      network: actor and critic.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = network.init(key, observation.history)
        return fresh_state(starting_params(config, fresh, pretrained), optimiser)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        return act_on_logits(network, state.params, observation, key, greedy)

    def loss(params: Params, batch: Transition, advantages: Array, returns: Array) -> tuple[Array, Metrics]:
        output = network.apply(params, batch.observation.history)
        logits = mask_shown(output.logits, batch.observation.shown)
        actor = -jnp.mean(advantages * log_prob(logits, batch.action))
        return with_critic_and_entropy(config, actor, output.value, returns, logits)

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params, batch, config)
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, batch, advantages, returns), state.params, state.opt_state
        )
        steps = state.env_steps + batch.reward.size
        return AgentState(params, opt_state, steps), metrics

    return Agent(init, act, update, config.num_users, config.rollout_length)


def starting_params(config: A2CConfig | OffPolicyConfig, fresh: Params, pretrained: Params | None) -> Params:
    """Pre-trained parameters, where there are any, with the critic's heads that ``critic_start`` asks for."""
    if pretrained is None:
        return fresh
    if config.critic_start == "pretrained":
        return pretrained
    return {"params": {**pretrained["params"], **{head: fresh["params"][head] for head in CRITIC_HEADS}}}


def act_on_logits(
    network: ActorCritic, params: Params, observation: Observation, key: Key, greedy: bool
) -> tuple[Array, dict[str, Array]]:
    """Samples (or, greedy, takes the mode) from the actor, shown items left out.

    Where the logits would fill too much memory, the draw streams over the items; the mode does not.

    Returns:
      Actions int32 [...]; in extras ``value`` [...], V as `estimate` needs it.
    """
    users = observation.history.shape[:-1]
    output = network.apply(params, observation.history)
    extras = {"value": output.value}
    if not greedy and len(users) == 1 and users[0] * network.num_items > STREAM_FROM:
        factors = network.apply(params, observation.history, method="actor_factors")
        chunk = max(1024, STREAM_FROM // 4 // users[0])
        return sample_streamed(key, *factors, observation.shown, chunk), extras
    logits = mask_shown(output.logits, observation.shown)
    if greedy:
        return jnp.argmax(logits, -1).astype(jnp.int32), extras
    return sample(key, logits), extras


def estimate(
    network: ActorCritic, params: Params, batch: Transition, config: A2CConfig
) -> tuple[Array, Array]:
    """Advantages and lambda returns of transitions [T, B], without gradient.

    Args:
      network, params: whose critic values the observations that follow.
      batch: its ``extras["value"]`` [T, B] is what the same critic said when `act` chose the action.
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
    """V of what follows each step [T, B], of the true final observation where a session was truncated.

    While a session goes on, that is the next step's value. So the critic is asked about two observations a
    user at most: the last one, and the final one of a session that the horizon ended, of which a rollout no
    longer than the horizon has at most one. After a user has left it is of no account what stands here.
    """
    history = batch.next_observation.history
    horizon = batch.observation.shown.shape[-1] - history.shape[-1]
    if batch.reward.shape[0] > horizon:
        return network.apply(params, history).value
    cut = jnp.argmax(batch.truncated, 0)
    final = jnp.take_along_axis(history, cut[None, :, None], 0)[0]
    beyond, last = network.apply(params, jnp.stack([final, history[-1]])).value
    following = jnp.concatenate([batch.extras["value"][1:], last[None]])
    return jnp.where(batch.truncated, beyond, following)


def with_critic_and_entropy(
    config: A2CConfig, actor: Array, values: Array, returns: Array, logits: Array, weight: Array | None = None
) -> tuple[Array, Metrics]:
    """The whole loss: actor + value_cost * critic - entropy_cost * entropy.

    Critic and entropy are means over all steps, or weighted by ``weight``, of the shape of ``values``.
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
    """The mean of ``steps`` under weights of 0 or 1; 0 where nothing counts."""
    return jnp.sum(steps * weight) / jnp.maximum(jnp.sum(weight), 1.0)

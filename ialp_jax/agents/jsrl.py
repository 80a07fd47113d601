"""Jump-start reinforcement learning (Uchendu et al., ICML 2023, arXiv 2204.02372).

In every session the frozen pre-trained policy, the guide, acts for the first h steps and the learner after
it, in evaluation too; h shrinks. The paper lowers h whenever the return keeps within a tolerance of its best
(section 4); here h falls linearly with the env steps, for a rule that watches the return would need
evaluations of its own. The learner starts from the guide, or at random (``start``).

The learner is A2C, on-policy, and the guide's steps are not its own: they are left out of the policy
gradient, the entropy and the critic's loss. They lie before the learner's steps of a session, so that the
learner's returns contain none of them, and its critic values what the learner itself will earn.
"""

from __future__ import annotations

import jax.numpy as jnp

from ialp_jax.agents.a2c import estimate, starting_params, weighted_mean, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state, linear
from ialp_jax.agents.config import JSRLConfig
from ialp_jax.agents.losses import log_prob
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def jsrl(config: JSRLConfig, network: ActorCritic, total_env_steps: int) -> Agent:
    """A2C that the pre-trained policy guides through the beginning of each session, ever more briefly.

    Args:
      config: A2C's settings, and how far the guide leads.
      network: of guide and learner.
      total_env_steps: what the curriculum spans where ``guide_steps`` is 0.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = network.init(key, observation.history)
        theta = fresh if pretrained is None else pretrained
        beta = starting_params(config, fresh, pretrained) if config.start == "pretrained" else fresh
        return fresh_state(beta, optimiser, memory=theta)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        share = guide_share(config, state.env_steps, total_env_steps)
        guided = is_guided(observation, share)
        theta, beta = (network.apply(p, observation.history) for p in (state.memory, state.params))
        logits = mask_shown(jnp.where(guided[..., None], theta.logits, beta.logits), observation.shown)
        action = jnp.argmax(logits, -1).astype(jnp.int32) if greedy else sample(key, logits)
        return action, {"guided": guided, "value": beta.value}

    def loss(params: Params, batch: Transition, advantages: Array, returns: Array) -> tuple[Array, Metrics]:
        own = 1.0 - batch.extras["guided"]
        output = network.apply(params, batch.observation.history)
        logits = mask_shown(output.logits, batch.observation.shown)
        actor = -weighted_mean(advantages * log_prob(logits, batch.action), own)
        value, metrics = with_critic_and_entropy(config, actor, output.value, returns, logits, own)
        return value, {**metrics, "guided": 1.0 - jnp.mean(own)}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params, batch, config)
        params, opt_state, metrics = descend(
            optimiser, lambda p: loss(p, batch, advantages, returns), state.params, state.opt_state
        )
        steps = state.env_steps + batch.reward.size
        return AgentState(params, opt_state, steps, state.memory), metrics

    return Agent(init, act, update, config.num_users, config.rollout_length)


def guide_share(config: JSRLConfig, env_steps: Array, total_env_steps: int) -> Array:
    """The share of the horizon that the guide acts for after ``env_steps``, float32 []."""
    return linear(config.guide_start, config.guide_end, env_steps, config.guide_steps or total_env_steps)


def is_guided(observation: Observation, share: Array) -> Array:
    """Whether the guide acts, bool [...]: fewer items than ``share`` of the horizon were shown so far."""
    length = observation.history.shape[-1]
    session = observation.shown[..., length:]
    return jnp.sum(session > 0, -1) < share * session.shape[-1]

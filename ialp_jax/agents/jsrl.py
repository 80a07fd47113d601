"""Jump-start reinforcement learning (JSRL; Uchendu et al., ICML 2023, arXiv 2204.02372).

    pi(a | s, t) = pi_theta(a | s) if t < h(env steps), else pi_beta(a | s)

In every session, the guide acts for the first h steps; the guide is the frozen pre-trained policy pi_theta.
Then the learner pi_beta acts. Evaluation does the same. h falls during training. In the paper, h falls when
the return is within a tolerance of the best return so far (section 4). Here h falls linearly with the env
steps, because a rule that depends on the return would need additional evaluations. The learner starts from
the guide's parameters or at random (``start``).

The learner is A2C, on-policy. Its policy gradient, its entropy and its critic's loss use only the steps in
which the learner acted. In each session, these steps come after the guide's steps. So the learner's returns
contain no rewards of the guide, and its critic estimates only the learner's future rewards.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ialp_jax.agents.acting import two_encoders
from ialp_jax.agents.actor_critic import initialiser, on_policy_update, weighted_mean, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, linear
from ialp_jax.agents.config import JSRLConfig
from ialp_jax.agents.distinct import apply_to_rollout
from ialp_jax.agents.losses import log_prob
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def jsrl(config: JSRLConfig, network: ActorCritic, total_env_steps: int) -> Agent:
    """A2C whose sessions begin with the pre-trained policy as a guide, for fewer and fewer steps.

    Args:
      config: A2C's settings, and the number of steps in which the guide acts.
      network: network of the guide and of the learner.
      total_env_steps: length of the curriculum in env steps if ``guide_steps`` is 0.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False, encoded: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        share = guide_share(config, state.env_steps, total_env_steps)
        guided = is_guided(observation, share)
        seen = encoded or (observation.history, observation.history)
        theta, beta = map(network.apply, (state.memory, state.params), seen)
        logits = mask_shown(jnp.where(guided[..., None], theta.logits, beta.logits), observation.shown)
        action = jnp.argmax(logits, -1).astype(jnp.int32) if greedy else sample(key, logits)
        return action, {"guided": guided, "value": beta.value}

    def loss(
        params: Params, state: AgentState, batch: Transition, advantages: Array, returns: Array
    ) -> tuple[Array, Metrics]:
        del state
        learners = by_learner(batch)
        output = apply_to_rollout(network, params, batch.observation.history)
        logits = mask_shown(output.logits, batch.observation.shown)
        actor = -weighted_mean(advantages * log_prob(logits, batch.action), learners)
        value, metrics = with_critic_and_entropy(config, actor, output.value, returns, logits, learners)
        return value, {**metrics, "guided": 1.0 - jnp.mean(learners)}

    return Agent(
        initialiser(config, network, optimiser, keeps_frozen=True),
        act,
        on_policy_update(config, network, optimiser, loss, by_learner),
        config.num_users,
        config.rollout_length,
        encoder=two_encoders(network, lambda state: state.memory),
    )


def by_learner(batch: Transition) -> Array:
    """1 for steps in which the learner acted, 0 for steps of the guide; float32 [T, B]."""
    return 1.0 - batch.extras["guided"]


def guide_share(config: JSRLConfig, env_steps: Array, total_env_steps: int) -> Array:
    """The share of the horizon in which the guide acts, after ``env_steps`` of training, float32 []."""
    return linear(config.guide_start, config.guide_end, env_steps, config.guide_steps or total_env_steps)


def is_guided(observation: Observation, share: Array) -> Array:
    """Whether the guide acts, bool [...]: true in the first ``share`` of the horizon."""
    length = observation.history.shape[-1]
    session = observation.shown[..., length:]
    return jnp.sum(session > 0, -1) < share * session.shape[-1]

"""A-iALP_gate: the mixture of A-iALP_ap with evidence about each state in place of a clock.

alpha(s), the share of pi_beta, is the probability that acting by pi_beta in s is better than acting by
pi_theta, given what was seen. For actions of the mixture mu and its advantages A,

    E_mu[(pi_beta(a|s) - pi_theta(a|s)) / mu(a|s) * A(s, a)] = E_beta[A(s, a)] - E_theta[A(s, a)],

by importance sampling. What is better in every state is better altogether (S. Kakade and J. Langford,
"Approximately optimal approximate reinforcement learning", ICML 2002, lemma 6.1), so this difference is
learned: by Bayesian linear regression on the frozen encoder's state, as in neural linear bandits
(C. Riquelme, G. Tucker and J. Snoek, "Deep Bayesian bandits showdown", ICLR 2018, arXiv 1802.09127), with
older evidence fading because pi_beta moves. With posterior mean m(s) and standard deviation sigma(s),

    alpha(s) = Phi(m(s) / (caution * sigma(s))), held within FLOOR and 1 - FLOOR.

Where pi_beta does harm, pi_theta takes over in the states concerned, while pi_beta goes on learning from the
mixture's data. pi_beta starts from pi_theta, so that the first alpha, 0.5, is no risk.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.a2c import estimate, starting_params
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state
from ialp_jax.agents.config import GateConfig
from ialp_jax.agents.losses import log_prob
from ialp_jax.agents.mixture import log_mixture, mixture_loss
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition

FLOOR = 0.02  # of alpha and 1 - alpha: without any data of a policy there would be no evidence about it
PRIOR = 10.0  # precision of the prior of the regression's weights, whose mean is 0, in steps of experience


class Evidence(NamedTuple):
    """Sums over steps, older ones faded, of features x [D + 1] and differences y.

    Attributes:
      precision: float32 [D + 1, D + 1], of x x^T.
      moment: float32 [D + 1], of x y.
      square: float32 [], of y^2.
      steps: float32 [], of 1.
    """

    precision: Array
    moment: Array
    square: Array
    steps: Array


class GateMemory(NamedTuple):
    """The frozen policy, and what is known of where the learning one is better."""

    theta: Params
    evidence: Evidence


def gate(config: GateConfig, network: ActorCritic) -> Agent:
    """A-iALP_gate: the mixture whose alpha depends on the state, by the evidence gathered for it.

    Args:
      config: A2C's settings, and how cautious alpha is.
      network: of both policies.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = network.init(key, observation.history)
        theta = fresh if pretrained is None else pretrained
        size = features(encoded(network, theta, observation)[0]).shape[-1]
        evidence = Evidence(jnp.zeros((size, size)), jnp.zeros(size), jnp.float32(0), jnp.float32(0))
        beta = starting_params(config, fresh, pretrained)
        return fresh_state(beta, optimiser, memory=GateMemory(theta, evidence))

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        seen, frozen = encoded(network, state.memory.theta, observation)
        share = belief(state.memory.evidence, features(seen), config.caution)
        theta = jax.nn.log_softmax(frozen)
        learned = network.apply(state.params, observation.history).logits
        beta = jax.nn.log_softmax(mask_shown(learned, observation.shown))
        mixed = log_mixture(theta, beta, share[..., None])
        action = jnp.argmax(mixed, -1).astype(jnp.int32) if greedy else sample(key, mixed)
        return action, {
            "theta_log_prob": log_prob(theta, action),
            "beta_log_prob": log_prob(beta, action),
            "alpha": share,
        }

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params, batch, config)
        theta, beta, share = (batch.extras[name] for name in ("theta_log_prob", "beta_log_prob", "alpha"))
        # (beta - theta) / mixture, from logarithms: both may be tiny.
        mixed = log_mixture(theta, beta, share)
        weight = jnp.exp(beta - mixed) - jnp.exp(theta - mixed)
        seen = features(encoded(network, state.memory.theta, batch.observation)[0])
        evidence = gathered(state.memory.evidence, seen, weight * advantages, config.half_life)
        params, opt_state, metrics = descend(
            optimiser,
            lambda p: mixture_loss(config, network, p, batch, advantages, returns),
            state.params,
            state.opt_state,
        )
        steps = state.env_steps + batch.reward.size
        after = AgentState(params, opt_state, steps, GateMemory(state.memory.theta, evidence))
        return after, {**metrics, "difference": jnp.mean(weight * advantages)}

    return Agent(init, act, update, config.num_users, config.rollout_length)


def encoded(network: ActorCritic, theta: Params, observation: Observation) -> tuple[Array, Array]:
    """The frozen encoder's state [..., D] and the frozen policy's logits [..., N], shown items masked."""
    state, logits = network.apply(theta, observation.history, method="state_and_logits")
    return state, mask_shown(logits, observation.shown)


def features(state: Array) -> Array:
    """A state [..., D], scaled to the length 1, and a constant: [..., D + 1]."""
    length = jnp.maximum(jnp.linalg.norm(state, axis=-1, keepdims=True), 1e-6)
    return jnp.concatenate([state / length, jnp.ones((*state.shape[:-1], 1))], -1)


def gathered(evidence: Evidence, seen: Array, difference: Array, half_life: int) -> Evidence:
    """The evidence after a batch.

    Args:
      evidence: before it.
      seen: float32 [T, B, D + 1].
      difference: float32 [T, B], each an unbiased sample of E_beta[A] - E_theta[A].
      half_life: in steps.
    """
    rows, values = seen.reshape(-1, seen.shape[-1]), difference.ravel()
    fresh = Evidence(rows.T @ rows, rows.T @ values, jnp.sum(values**2), jnp.float32(values.size))
    kept = 0.5 ** (values.size / half_life)
    return jax.tree.map(lambda old, new: kept * old + new, evidence, fresh)


def belief(evidence: Evidence, seen: Array, caution: float) -> Array:
    """alpha(s) for features [..., D + 1], float32 [...]."""
    size = seen.shape[-1]
    inverse = jnp.linalg.inv(evidence.precision + PRIOR * jnp.eye(size))
    mean = inverse @ evidence.moment
    # The variance of what the mean leaves unexplained; its degrees of freedom are left out.
    noise = (evidence.square - mean @ evidence.moment) / jnp.maximum(evidence.steps, 1.0)
    spread = jnp.sqrt(jnp.maximum(noise, 0.0) * jnp.einsum("...i,ij,...j->...", seen, inverse, seen))
    score = (seen @ mean) / (caution * spread + 1e-8)
    return jnp.clip(jax.scipy.stats.norm.cdf(score), FLOOR, 1.0 - FLOOR)

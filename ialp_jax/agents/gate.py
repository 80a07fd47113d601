"""A-iALP_gate: how far the frozen policy is trusted in a state is learned, where A-iALP_ap's clock decides.

    pi(a | s) ~ pi_theta(a | s)^c(s) exp f(s, a),    c(s) = trust exp(trust_rate w . x(s))

is a logarithmic pool of the frozen policy (C. Genest and J. Zidek, "Combining probability distributions",
Statistical Science 1986) with one expert more, f, which learns online from 0, as in residual policy
learning (T. Silver et al. 2018, arXiv 1812.06298). x(s) is the frozen encoder's state, of length 1, and a
constant. Both f and w, from 0, follow A2C's policy gradient, whose part for w is

    A(s, a) d log pi(a | s) / dw = A(s, a) trust_rate c(s) (log pi_theta(a | s) - E_pi[log pi_theta]) x(s):

where what the frozen policy prefers earns more than expected, its preferences sharpen (c grows), and where
it earns less they flatten, towards exploration, before f has learned anything about the items concerned. A
policy pre-trained on labels knows an order of items; how sure of it one may be, users alone can tell. With
trust 1 the first policy is the frozen one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.a2c import estimate, starting_params, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, descend, fresh_state
from ialp_jax.agents.config import GateConfig
from ialp_jax.agents.losses import log_prob
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


class GateParams(NamedTuple):
    """What is learned.

    Attributes:
      network: its actor is f, its critic the policy's.
      weights: float32 [D + 1], w.
    """

    network: Params
    weights: Array


def gate(config: GateConfig, network: ActorCritic) -> Agent:
    """A-iALP_gate; its memory keeps the frozen policy's parameters.

    Args:
      config: A2C's settings, the first trust and how fast it learns.
      network: of both the frozen policy and what is learned beside it.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = network.init(key, observation.history)
        theta = fresh if pretrained is None else pretrained
        params = GateParams(
            silent(starting_params(config, fresh, pretrained)), jnp.zeros(network.config.width + 1)
        )
        return fresh_state(params, optimiser, memory=theta)

    def policy(params: GateParams, theta: Params, observation: Observation) -> tuple[Array, Array, Array]:
        """Logits [..., N], values [...] and trust [...]."""
        state, frozen = jax.lax.stop_gradient(
            network.apply(theta, observation.history, method="state_and_logits")
        )
        trust = config.trust * jnp.exp(config.trust_rate * (features(state) @ params.weights))
        learned = network.apply(params.network, observation.history)
        logits = trust[..., None] * jax.nn.log_softmax(frozen) + learned.logits
        return mask_shown(logits, observation.shown), learned.value, trust

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        logits, value, _ = policy(state.params, state.memory, observation)
        action = jnp.argmax(logits, -1).astype(jnp.int32) if greedy else sample(key, logits)
        return action, {"value": value}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params.network, batch, config)

        def loss(params: GateParams) -> tuple[Array, Metrics]:
            logits, values, trust = policy(params, state.memory, batch.observation)
            actor = -jnp.mean(advantages * log_prob(logits, batch.action))
            total, metrics = with_critic_and_entropy(config, actor, values, returns, logits)
            return total, {**metrics, "trust": jnp.mean(trust), "trust_spread": jnp.std(trust)}

        params, opt_state, metrics = descend(optimiser, loss, state.params, state.opt_state)
        return AgentState(params, opt_state, state.env_steps + batch.reward.size, state.memory), metrics

    return Agent(init, act, update, config.num_users, config.rollout_length)


def silent(params: Params) -> Params:
    """The same network, its actor 0 everywhere; its encoder is kept."""
    actor = jax.tree.map(jnp.zeros_like, params["params"]["actor"])
    return {"params": {**params["params"], "actor": actor}}


def features(state: Array) -> Array:
    """A state [..., D], scaled to the length 1, and a constant: [..., D + 1]."""
    length = jnp.maximum(jnp.linalg.norm(state, axis=-1, keepdims=True), 1e-6)
    return jnp.concatenate([state / length, jnp.ones((*state.shape[:-1], 1))], -1)

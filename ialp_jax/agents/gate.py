"""A-iALP_gate: combines the pre-trained policy and the users' answers with learned weights for each state.

    log pi(a | s) = c(s) log pi_theta(a | s) + k(s) e(a) + f(s, a) + constant,
    c(s) = exp(w_c^T x(s)),    k(s) = evidence exp(w_k^T x(s)).

This is a logarithmic pool (Genest and Zidek, "Combining probability distributions", Statistical Science 1986)
of three experts:

- pi_theta, the pre-trained policy. It also learns, but its learning rate is multiplied by ``slow_rate``
  (discriminative fine-tuning; Howard and Ruder, ACL 2018, arXiv 1801.06146);
- e, the evidence from the users' answers. e(a) is the log-odds that users like item a, minus the log-odds
  over all items. It is shrunk towards 0, as if each item already had `PRIOR` recommendations with the overall
  rate of likes (empirical Bayes; Efron and Morris, JASA 1975). It is counted, not learned by gradients;
- f, a learned correction that starts at 0 (as in residual policy learning; Silver et al., 2018,
  arXiv 1812.06298).

In contrast to A-iALP_ap, no weight follows a schedule. x(s) is the encoder's state, scaled to length 1, with
a constant 1 appended. w_c and w_k start at 0. A2C's policy gradient trains all parameters. For w_c, it is

    A(s, a) d log pi(a | s) / dw_c = A(s, a) c(s) (log pi_theta(a | s) - E_pi[log pi_theta]) x(s).

So if the items that an expert prefers earn more than expected, the expert's weight grows in such states. If
they earn less, the weight falls. At first, the policy is pi_theta itself, because there is no evidence yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents.actor_critic import estimate, starting_params, with_critic_and_entropy
from ialp_jax.agents.base import Agent, AgentState, Encoder, Metrics, Params, adam, descend, fresh_state
from ialp_jax.agents.config import GateConfig
from ialp_jax.agents.distinct import encode_rollout
from ialp_jax.agents.losses import log_prob
from ialp_jax.agents.sampling import sample
from ialp_jax.networks.heads import ActorCritic, initial_params, mask_shown, tempered
from ialp_jax.types import Array, Key, Observation, Transition

PRIOR = 20.0  # pseudo-count: each item starts with this number of assumed recommendations


class GateParams(NamedTuple):
    """Learned parameters.

    Attributes:
      network: parameters of a network whose actor is f; its critic gives V of the whole policy.
      theta: parameters of the pre-trained policy.
      trust: float32 [D + 1], w_c.
      evidence: float32 [D + 1], w_k.
    """

    network: Params
    theta: Params
    trust: Array
    evidence: Array


class Answers(NamedTuple):
    """Counts of all users' answers to each item so far.

    Attributes:
      likes, shown: float32 [N], how often each item was liked, and how often it was recommended.
    """

    likes: Array
    shown: Array


def gate(config: GateConfig, network: ActorCritic) -> Agent:
    """A-iALP_gate; its memory counts the users' answers.

    Args:
      config: A2C's settings, the initial weight of the evidence, and ``slow_rate``.
      network: network of the pre-trained policy and, with other parameters, of the learned expert f.
    """
    is_slow: Any = (False, True, False, False)  # only the pre-trained policy
    slowly = optax.masked(optax.scale(config.slow_rate), GateParams(*is_slow))
    optimiser = optax.chain(adam(config.learning_rate, config.max_gradient_norm), slowly)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = initial_params(network, key, observation.history)
        theta = fresh if pretrained is None else tempered(pretrained, config.temperature_factor)
        weights, none = jnp.zeros(network.config.width + 1), jnp.zeros(network.num_items)
        params = GateParams(silent(starting_params(config, fresh, pretrained)), theta, weights, weights)
        return fresh_state(params, optimiser, memory=Answers(none, none))

    def policy(
        params: GateParams, answers: Answers, observation: Observation, encoded: Any = None
    ) -> tuple[Array, Array, Metrics]:
        """Logits [..., N], values [...], and metrics of the weights c(s) and k(s) over all states."""
        of_theta, of_network = encoded or (observation.history, observation.history)
        state, logits = network.apply(params.theta, of_theta, method="state_and_logits")
        directions = features(jax.lax.stop_gradient(state))
        trust = jnp.exp(directions @ params.trust)
        weight = config.evidence * jnp.exp(directions @ params.evidence)
        learned = network.apply(params.network, of_network)
        pool = trust[..., None] * jax.nn.log_softmax(logits) + weight[..., None] * evidence(answers)
        metrics: Metrics = {
            "trust": jnp.mean(trust),
            "trust_spread": jnp.std(trust),
            "evidence": jnp.mean(weight),
        }
        return mask_shown(pool + learned.logits, observation.shown), learned.value, metrics

    def encode(state: AgentState, history: Array) -> tuple[Array, Array]:
        pair = (state.params.theta, state.params.network)
        of_theta, of_network = (network.apply(params, history, method="encode") for params in pair)
        return of_theta, of_network

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False, encoded: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        logits, value, _ = policy(state.params, state.memory, observation, encoded)
        action = jnp.argmax(logits, -1).astype(jnp.int32) if greedy else sample(key, logits)
        return action, {"value": value}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        del key
        advantages, returns = estimate(network, state.params.network, batch, config)

        def loss(params: GateParams) -> tuple[Array, Metrics]:
            # Uses the counts without this batch, because `act` did not know these answers.
            pair = (params.theta, params.network)
            encoded = tuple(encode_rollout(network, one, batch.observation.history) for one in pair)
            logits, values, weights = policy(params, state.memory, batch.observation, encoded)
            actor = -jnp.mean(advantages * log_prob(logits, batch.action))
            total, metrics = with_critic_and_entropy(config, actor, values, returns, logits)
            return total, {**metrics, **weights}

        params, opt_state, metrics = descend(optimiser, loss, state.params, state.opt_state)
        steps = state.env_steps + batch.reward.size
        return AgentState(params, opt_state, steps, with_answers(state.memory, batch)), metrics

    return Agent(init, act, update, config.num_users, config.rollout_length, encoder=Encoder(encode))


def silent(params: Params) -> Params:
    """The same parameters, except that those of the actor are 0, so that all its logits are 0."""
    actor = jax.tree.map(jnp.zeros_like, params["params"]["actor"])
    return {"params": {**params["params"], "actor": actor}}


def features(state: Array) -> Array:
    """x(s): a state [..., D], scaled to length 1, with a constant 1 appended: [..., D + 1]."""
    length = jnp.maximum(jnp.linalg.norm(state, axis=-1, keepdims=True), 1e-6)
    return jnp.concatenate([state / length, jnp.ones((*state.shape[:-1], 1))], -1)


def evidence(answers: Answers) -> Array:
    """e(a): shrunken log-odds that users like an item, minus the log-odds over all items, float32 [N].

    e = logit((likes + PRIOR r) / (shown + PRIOR)) - logit(r), where r is the rate of likes over all items.
    r is smoothed with one like in ten assumed recommendations, so it is 0.1 before the first answer.
    """
    rate = (answers.likes.sum() + 1.0) / (answers.shown.sum() + 10.0)
    shrunken = (answers.likes + PRIOR * rate) / (answers.shown + PRIOR)
    return jax.scipy.special.logit(shrunken) - jax.scipy.special.logit(rate)


def with_answers(answers: Answers, batch: Transition) -> Answers:
    """Adds the answers of a batch to the counts; a positive reward is a like."""
    liked = (batch.reward > 0).astype(jnp.float32)
    return Answers(answers.likes.at[batch.action].add(liked), answers.shown.at[batch.action].add(1.0))

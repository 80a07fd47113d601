"""iALP (arXiv 2501.13816, section 3): an actor-critic pre-trained offline on the LLM's labels, then frozen.

    loss = critic_cost Huber(Q(s, a) - (r + gamma V_target(s'))) - w log pi(a | s) - entropy_cost H(pi)

`pretrain_loss` explains the weight w and the settings. The control ``a2c_warm`` has the same pre-training,
but on logged next items instead of the LLM's labels.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents.acting import sampler, sampler_encoder
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, frozen_state
from ialp_jax.agents.config import IALPConfig, OfflineConfig
from ialp_jax.agents.losses import entropy, log_prob, of_action, q_target, value_target
from ialp_jax.networks.heads import ActorCritic, ActorCriticOutput, centred_q, initial_params, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def ialp(network: ActorCritic) -> Agent:
    """The policy of iALP or ialp_soft, pre-trained on labels and frozen.

    Args:
      network: actor and critic; its parameters must be pre-trained.
    """

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        params = initial_params(network, key, observation.history) if pretrained is None else pretrained
        return frozen_state(params)

    return Agent(init, sampler(network), encoder=sampler_encoder(network))


def pretrain_loss(
    config: IALPConfig, network: ActorCritic, params: Params, target: Params, batch: Transition
) -> tuple[Array, Metrics]:
    """Offline loss: temporal differences for the critic, policy gradient for the actor (iALP, section 3).

    Critic: the Huber loss between Q(s, a) and a target. ``config.backup`` selects the target. ``policy`` is
    r + gamma V(s') with V of the target network. This is the expected SARSA target (van Seijen et al., 2009),
    because V is the mean of Q under the policy. ``max`` is the double Q-learning target.

    Actor: ``-w log pi(a | s)``. ``config.actor_weight`` selects the weight w: Q(s, a) of the target network
    (policy gradient theorem, as in the paper), its advantage Q(s, a) - V(s), or the label's reward. Negative
    weights are set to 0. With a negative weight, the loss has no lower bound, because the probability of the
    action can fall to 0.

    A labelled action is the LLM's choice among K candidates, which a policy proposed.
    ``config.alternatives`` selects the items among which pi chooses. With the whole ``catalogue``, the policy
    also learns how often each item was proposed, so each round reinforces the proposals of the round before.
    With only the ``candidates``, log pi(a | s, a in candidates) is the conditional logit of McFadden (1974).
    Then the policy learns only the preference among the candidates, not how often they were proposed.

    Args:
      config: discount, weights, and the choices described above.
      network: actor and duelling critic.
      params: parameters that are learned.
      target: parameters of the target network, with the same structure.
      batch: transitions [B]. Labelled transitions have ``extras["candidate_actions"]``, int32 [B, K]. Logged
        transitions have no candidates, so their alternatives are the whole catalogue.

    Returns:
      The loss, float32 [], and metrics.
    """

    def actor(logits: Array) -> Array:
        weight = _weight(config, network.apply(target, batch.observation.history), batch)
        return -jnp.mean(weight * _choice_log_prob(config, logits, batch))

    return with_critic_and_entropy(config, network, params, target, batch, actor)


def with_critic_and_entropy(
    config: OfflineConfig,
    network: ActorCritic,
    params: Params,
    target: Params,
    batch: Transition,
    actor_loss: Callable[[Array], Array],
) -> tuple[Array, Metrics]:
    """The whole loss of an offline pre-training: actor + critic_cost * critic - entropy_cost * entropy.

    Args:
      config: discount, backup and weights.
      network, params, target, batch: see `pretrain_loss`; the critic learns ``batch.reward``.
      actor_loss: maps the policy's logits [B, N], without shown items, to the loss of the actor.
    """
    shown = batch.observation.shown
    output = network.apply(params, batch.observation.history)
    chosen = of_action(centred_q(output, shown), batch.action)
    critic = jnp.mean(optax.losses.huber_loss(chosen, _targets(config, network, params, target, batch)))
    logits = mask_shown(output.logits, shown)
    actor = actor_loss(logits)
    bonus = jnp.mean(entropy(logits))
    loss = actor + config.critic_cost * critic - config.entropy_cost * bonus
    metrics: Metrics = {"actor_loss": actor, "critic_loss": critic, "entropy": bonus, "q": jnp.mean(chosen)}
    return loss, metrics


def _targets(
    config: OfflineConfig, network: ActorCritic, params: Params, target: Params, batch: Transition
) -> Array:
    """The critic's target for each action, float32 [B], without gradient."""
    later = batch.next_observation
    following = network.apply(target, later.history)
    if config.backup == "policy":
        return value_target(batch.reward, batch.terminated, following.value, config.discount)
    return jax.vmap(q_target, in_axes=(0, 0, 0, 0, None))(
        batch.reward,
        batch.terminated,
        centred_q(network.apply(params, later.history), later.shown),
        centred_q(following, later.shown),
        config.discount,
    )


def _weight(config: IALPConfig, output: ActorCriticOutput, batch: Transition) -> Array:
    """The weight of each action's log-probability, float32 [B], at least 0, without gradient."""
    if config.actor_weight == "reward":
        weight = batch.reward
    else:
        weight = of_action(centred_q(output, batch.observation.shown), batch.action)
        if config.actor_weight == "advantage":
            weight = weight - output.value
    return jax.lax.stop_gradient(jnp.maximum(weight, 0.0))


def _choice_log_prob(config: IALPConfig, logits: Array, batch: Transition) -> Array:
    """Log-probability of each action among its alternatives (candidates or catalogue), float32 [B]."""
    whole = log_prob(logits, batch.action)
    if config.alternatives == "catalogue" or "candidate_actions" not in batch.extras:
        return whole
    proposed = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.extras["candidate_actions"], -1)
    return whole - jax.nn.logsumexp(proposed, -1)

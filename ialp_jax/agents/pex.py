"""Policy expansion (PEX; Zhang, Xu and Yu, ICLR 2023, arXiv 2302.00935), for discrete actions.

    a ~ softmax([Q(s, a_1), Q(s, a_2)] / temperature),  a_1 ~ pi_theta(s),  a_2 ~ pi_beta(s)

At each step, the frozen pre-trained policy pi_theta and the learner pi_beta each draw an action. The agent
takes one of these two actions (section 3.2). The critic learns from replay by temporal differences. The
target uses Q(s', a'), where a' is an action that the agent would take in s'. As in the authors' code, the
learner imitates actions that the agent would take, with the weight exp(advantage / weight_temperature). This
is the policy extraction of implicit Q-learning (Kostrikov et al., ICLR 2022).

Differences: we use one duelling critic on the shared encoder. The authors use two critics and a separate
value network, fitted by expectile regression. Our V is the mean of Q under the learner. Our replay buffer
contains only online experience. The authors add offline data, whose rewards come from the environment;
rewards of labels do not. Our learner starts from the frozen policy. The authors' learner starts at random
(here ``start=random``, a new head on the pre-trained encoder). So our two actions are at first drawn from the
same policy, and the pre-trained critic prefers the better one. If ``critic_start=random``, the agent at first
acts nearly like the frozen policy.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from ialp_jax.agents.acting import two_encoders
from ialp_jax.agents.actor_critic import starting_params
from ialp_jax.agents.base import Agent, AgentState, Metrics, Params, adam, fresh_state
from ialp_jax.agents.config import PEXConfig
from ialp_jax.agents.losses import log_prob, of_action, value_target
from ialp_jax.agents.offpolicy import fresh_memory, learn_from_replay, with_parts
from ialp_jax.agents.sampling import sample
from ialp_jax.keys import stream
from ialp_jax.networks.heads import ActorCritic, ActorCriticOutput, centred_q, initial_params, mask_shown
from ialp_jax.types import Array, Key, Observation, Transition


def pex(config: PEXConfig, network: ActorCritic) -> Agent:
    """Chooses at each step between the frozen and the learning policy, by the Q values of their actions.

    Args:
      config: settings of the choice between the policies, of replay and of learning.
      network: actor and duelling critic; the agent's memory stores the frozen policy's parameters.
    """
    optimiser = adam(config.learning_rate, config.max_gradient_norm)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> AgentState:
        fresh = initial_params(network, key, observation.history)
        theta = fresh if pretrained is None else pretrained
        params = starting_params(config, fresh, pretrained)
        if config.start == "random":
            params = {"params": {**params["params"], "actor": fresh["params"]["actor"]}}
        return fresh_state(params, optimiser, fresh_memory(config, params, observation, theta))

    def act(
        state: AgentState, observation: Observation, key: Key, greedy: bool = False, encoded: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        seen = encoded or (observation.history, observation.history)
        frozen, output = map(network.apply, (state.memory.fixed, state.params), seen)
        temperature = None if greedy else config.temperature
        action, _, learner = choose(frozen, output, observation.shown, key, temperature)
        return action, {"learner": learner}

    def loss(
        params: Params, target: Params, theta: Params, batch: Transition, key: Key
    ) -> tuple[Array, Metrics]:
        now, later = batch.observation, batch.next_observation

        def taken(observation: Observation, purpose: str) -> tuple[Array, Array, Array]:
            """An action that the agent would take, its Q, and V; the target network is the learner."""
            slow = network.apply(target, observation.history)
            frozen = network.apply(theta, observation.history)
            drawn = choose(frozen, slow, observation.shown, stream(key, purpose), config.temperature)
            return drawn[0], drawn[1], slow.value

        targets = value_target(batch.reward, batch.terminated, taken(later, "later")[1], config.discount)
        output = network.apply(params, now.history)
        chosen = of_action(centred_q(output, now.shown), batch.action)
        critic = jnp.mean(optax.losses.huber_loss(chosen, targets))
        logits = mask_shown(output.logits, now.shown)
        action, worth, value = taken(now, "now")
        weight = jnp.minimum(jnp.exp((worth - value) / config.weight_temperature), config.max_weight)
        actor = -jnp.mean(jax.lax.stop_gradient(weight) * log_prob(logits, action))
        total, metrics = with_parts(config, actor, critic, logits, chosen)
        return total, {**metrics, "weight": jnp.mean(weight)}

    def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
        def of_memory(
            params: Params, target: Params, sampled: Transition, loss_key: Key
        ) -> tuple[Array, Metrics]:
            return loss(params, target, state.memory.fixed, sampled, loss_key)

        after, metrics = learn_from_replay(config, optimiser, of_memory, state, batch, key)
        return after, {**metrics, "learner": jnp.mean(batch.extras["learner"])}

    encoder = two_encoders(network, lambda state: state.memory.fixed)
    return Agent(init, act, update, config.num_users, config.rollout_length, encoder=encoder)


def choose(
    frozen: ActorCriticOutput, output: ActorCriticOutput, shown: Array, key: Key, temperature: float | None
) -> tuple[Array, Array, Array]:
    """Draws one action from each policy, and chooses one of the two by Q.

    Args:
      frozen: the frozen network's output, [...]; only its logits are used.
      output: the learner's output; its Q values are used for both actions.
      shown: int32 [..., any], items that may not be recommended.
      key: consumed.
      temperature: temperature of the choice. If it is None, each policy proposes its most probable action,
        and the action with the higher Q is taken.

    Returns:
      The action int32 [...], its Q float32 [...], and float32 [...]: 1 if the learner proposed it, else 0.
    """
    policies = [mask_shown(logits, shown) for logits in (frozen.logits, output.logits)]
    if temperature is None:
        actions: list[Array] = [jnp.argmax(logits, -1).astype(jnp.int32) for logits in policies]
    else:
        actions = [sample(stream(key, "draw", i), logits) for i, logits in enumerate(policies)]
    q = centred_q(output, shown)
    first, second = (of_action(q, action) for action in actions)
    if temperature is None:
        learner = second > first
    else:
        share = jax.nn.sigmoid((second - first) / temperature)
        learner = jax.random.uniform(stream(key, "choose"), share.shape) < share
    action, worth = jnp.where(learner, actions[1], actions[0]), jnp.where(learner, second, first)
    return action, worth, learner.astype(jnp.float32)

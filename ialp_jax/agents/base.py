"""The agent protocol: three pure functions, and the state that they pass on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ialp_jax.types import Array, Key, Observation, Transition

Params = Any
Metrics = dict[str, Array]


class AgentState(NamedTuple):
    """The state of an agent.

    Attributes:
      params: learned parameters, ``{}`` if nothing is learned.
      opt_state: state of the optimiser.
      env_steps: int32 [], number of steps, summed over users, from which the agent has learned.
      memory: anything else (target network, replay buffer, frozen policy).
    """

    params: Params
    opt_state: optax.OptState
    env_steps: Array
    memory: Any = ()


class News(NamedTuple):
    """The changes in the observations of B users since their last step.

    Attributes:
      shown: int32 [B, any], item ids that must not be chosen; 0 is ignored.
      changed: bool [B], whether the user's history was encoded in this step.
      new: bool [B, any], for each item in ``shown``: whether it was not yet hidden in the last step. It is
        true for all items of ``changed`` users.
    """

    shown: Array
    changed: Array
    new: Array


class Encoder(NamedTuple):
    """Functions that make the argument ``encoded`` of `Agent.act`.

    Attributes:
      encode: ``(state, history) -> encoded``: maps histories [..., L] to a tree of arrays [..., any].
      hide: ``(state, encoded, news, greedy) -> encoded``: hides the items in ``news.shown``, see `News`. It
        must be called for all B users before every ``act``, which gets the same ``greedy``. If it is None,
        ``encoded`` does not depend on the shown items.
    """

    encode: Callable[[Any, Array], Any]
    hide: Callable[[Any, Any, News, bool], Any] | None = None


class Agent(NamedTuple):
    """A recommender policy and how it learns; every function is pure and can be jitted and vmapped.

    Attributes:
      init: ``(key, observation, pretrained) -> AgentState``. ``observation`` is one observation without
        leading axes, and only its shapes matter. ``pretrained`` is None or pre-trained parameters.
      act: ``(state, observation, key, greedy=False) -> (action, extras)`` for observations with any
        leading axes. If ``greedy`` is true, the agent takes its best action and does not explore.
        Privileged agents get the pair (observation, simulator state).
      update: ``(state, transitions, key) -> (state, metrics)`` for transitions [T, B]; None if
        nothing is learned.
      num_users: B, number of parallel users during training.
      rollout_length: T, steps of each user between two updates.
      privileged: whether the agent needs the simulator's state. Such an agent is only a reference policy.
      evaluated_greedy: whether evaluation always uses ``greedy``. It is true for value-based agents, because
        they act at random only to explore.
      encoder: encodes histories; None if the agent has none. If it has one, its ``act`` also takes the
        argument ``encoded`` and then does not encode the histories again. So code that acts for many steps
        need not encode histories that did not change.
    """

    init: Callable[[Key, Observation, Params | None], Any]
    act: Callable[..., tuple[Array, dict[str, Array]]]
    update: Callable[[Any, Transition, Key], tuple[Any, Metrics]] | None = None
    num_users: int = 1
    rollout_length: int = 1
    privileged: bool = False
    evaluated_greedy: bool = False
    encoder: Encoder | None = None


def adam(learning_rate: float, max_gradient_norm: float | None = None) -> optax.GradientTransformation:
    """Adam. If ``max_gradient_norm`` is given, the global gradient norm is clipped first."""
    clip = optax.identity() if max_gradient_norm is None else optax.clip_by_global_norm(max_gradient_norm)
    return optax.chain(clip, optax.adam(learning_rate))


def descend(
    optimiser: optax.GradientTransformation,
    loss: Callable[[Params], tuple[Array, Metrics]],
    params: Params,
    opt_state: optax.OptState,
) -> tuple[Params, optax.OptState, Metrics]:
    """Takes one gradient step on ``loss``, a function that returns the loss and metrics."""
    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    changes, opt_state = optimiser.update(gradient, opt_state, params)
    metrics = {**metrics, "loss": value, "gradient_norm": optax.tree.norm(gradient)}
    return optax.apply_updates(params, changes), opt_state, metrics


def fresh_state(params: Params, optimiser: optax.GradientTransformation, memory: Any = ()) -> AgentState:
    """The state before the first update."""
    return AgentState(params, optimiser.init(params), jnp.int32(0), memory)


def frozen_state(params: Params) -> AgentState:
    """The state of an agent that does not learn."""
    return AgentState(params, (), jnp.int32(0))


def linear(start: float, end: float, env_steps: Array, span: int) -> Array:
    """Linear schedule from ``start`` to ``end`` over ``span`` env steps, then constant, float32 []."""
    return start + jnp.clip(env_steps / span, 0.0, 1.0) * (end - start)

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
      opt_state: of the optimiser.
      env_steps: int32 [], steps of all users the agent has learned from.
      memory: anything else (target network, replay buffer, frozen policy).
    """

    params: Params
    opt_state: optax.OptState
    env_steps: Array
    memory: Any = ()


class Agent(NamedTuple):
    """A recommender policy and how it learns; every function is pure and can be jitted and vmapped.

    Attributes:
      init: ``(key, observation, pretrained) -> AgentState``; one observation without leading axes, for
        its shapes; ``pretrained`` is None or the parameters of a pre-training.
      act: ``(state, observation, key, greedy=False) -> (action, extras)`` for observations with any
        leading axes; ``greedy`` asks for the mode instead of exploring. Privileged agents get the pair
        (observation, simulator state).
      update: ``(state, transitions, key) -> (state, metrics)`` for transitions [T, B]; None if
        nothing is learned.
      num_users: B, users in parallel while learning.
      rollout_length: T, steps of each user between two updates.
      privileged: whether it needs the simulator's state (a reference, no recommender).
      evaluated_greedy: whether evaluation always uses the mode. It is true for value-based agents, because
        they sample only to explore.
    """

    init: Callable[[Key, Observation, Params | None], Any]
    act: Callable[..., tuple[Array, dict[str, Array]]]
    update: Callable[[Any, Transition, Key], tuple[Any, Metrics]] | None = None
    num_users: int = 1
    rollout_length: int = 1
    privileged: bool = False
    evaluated_greedy: bool = False


def adam(learning_rate: float, max_gradient_norm: float | None = None) -> optax.GradientTransformation:
    """Adam, after the global gradient norm is clipped."""
    clip = optax.identity() if max_gradient_norm is None else optax.clip_by_global_norm(max_gradient_norm)
    return optax.chain(clip, optax.adam(learning_rate))


def descend(
    optimiser: optax.GradientTransformation,
    loss: Callable[[Params], tuple[Array, Metrics]],
    params: Params,
    opt_state: optax.OptState,
) -> tuple[Params, optax.OptState, Metrics]:
    """One gradient step on ``loss``, which returns its value and metrics."""
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
    """A setting that runs linearly from ``start`` to ``end`` over ``span`` env steps, float32 []."""
    return start + jnp.clip(env_steps / span, 0.0, 1.0) * (end - start)

"""Lets agents that differ only in numerical settings share one compiled program.

The numbers are part of the agent's state, so they are inputs of the program and not constants in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from ialp_jax.agents.base import Agent, AgentState, Encoder, Metrics, Params
from ialp_jax.types import Array, Key, Observation, Transition


class NumberedState(NamedTuple):
    """The state of a numbered agent.

    Attributes:
      numbers: name -> float32 []; they never change.
      state: state of the wrapped agent.
    """

    numbers: dict[str, Array]
    state: AgentState


def numbered(make: Callable[[Mapping[str, Any]], Agent], numbers: Mapping[str, float]) -> Agent:
    """The agent ``make(numbers)``, whose compiled functions take the numbers as inputs, not as constants.

    If JAX's compilation cache is on, as it is by default in a run or a study, a program that was compiled for
    some numbers is reused for all other numbers. Results may differ in the last bits from those of
    ``make(numbers)``, because the compiler cannot fold constants.

    Args:
      make: function that makes the agent. It is called with the numbers, and when JAX compiles, with
        tracers instead of numbers. So the numbers must not affect Python branches or array shapes.
      numbers: name -> value.
    """
    made = make(numbers)

    def init(key: Key, observation: Observation, pretrained: Params | None = None) -> NumberedState:
        state = made.init(key, observation, pretrained)
        return NumberedState({name: jnp.float32(value) for name, value in numbers.items()}, state)

    def act(
        state: NumberedState, observation: Observation, key: Key, greedy: bool = False, **encoded: Any
    ) -> tuple[Array, dict[str, Array]]:
        return make(state.numbers).act(state.state, observation, key, greedy=greedy, **encoded)

    def encode(state: NumberedState, history: Array) -> Any:
        return make(state.numbers).encoder.encode(state.state, history)

    def update(state: NumberedState, batch: Transition, key: Key) -> tuple[NumberedState, Metrics]:
        after, metrics = make(state.numbers).update(state.state, batch, key)
        return NumberedState(state.numbers, after), metrics

    def hide(state: NumberedState, *rest: Any) -> Any:
        return make(state.numbers).encoder.hide(state.state, *rest)

    encoder = made.encoder and Encoder(encode, made.encoder.hide and hide)
    return made._replace(init=init, act=act, update=made.update and update, encoder=encoder)

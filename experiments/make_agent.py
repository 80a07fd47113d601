"""Builds agents and their networks from the settings of a run and the parameters of its world."""

from __future__ import annotations

from typing import Any

from experiments.config import Config
from ialp_jax.agents import registry
from ialp_jax.agents.base import Agent
from ialp_jax.agents.reference import stayer
from ialp_jax.agents.registry import REFERENCES
from ialp_jax.networks import heads
from ialp_jax.networks.heads import ActorCritic, Recommender
from ialp_jax.simulator.dynamics import item_scores
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.types import Array, Transition


def actor_critic(config: Config, num_items: int) -> ActorCritic:
    """The network of every actor-critic agent."""
    return ActorCritic(num_items, config.simulator.history_length, config.network)


def recommender(config: Config, num_items: int) -> Recommender:
    """The network of the supervised SASRec."""
    return Recommender(num_items, config.simulator.history_length, config.network)


def _of_world(params: SessionParams, popularity: Array) -> dict[str, Any]:
    """The inputs from the world for the functions that make agents, see `make_agent`."""

    def like_scores(state: SessionState) -> Array:
        return item_scores(state, params)

    num_items = params.user_model.item_bias.shape[0] - 1
    return {"num_items": num_items, "popularity": popularity, "like_scores": like_scores}


def reference_agents(params: SessionParams, popularity: Array) -> dict[str, Agent]:
    """The reference policies: random, popular, oracle, and stayer, which only keeps users from leaving."""
    inputs = _of_world(params, popularity)

    def at_ease(state: SessionState) -> Array:
        return state.patience > 2 * params.dislike_cost  # in the hard preset, one item can cost twice as much

    agents = {name: registry.build(name, inputs) for name in REFERENCES if name != "stayer"}
    return {**agents, "stayer": stayer(inputs["like_scores"], at_ease)}


def make_agent(
    name: str, config: Config, params: SessionParams, popularity: Array, labelled: Transition | None = None
) -> Agent:
    """Builds one agent by calling the function in its record.

    Each parameter of this function gets the input with the same name.

    Args:
      name: id of the agent.
      config: settings of the run.
      params: parameters of the world; only privileged agents get the user model in them.
      popularity: [N + 1], number of likes of each item by offline users.
      labelled: transitions [M] made from the labels, for an agent that replays labels.
    """
    inputs, record = _of_world(params, popularity), registry.record(name)
    if not record.privileged:
        del inputs["like_scores"]
    history_length = config.simulator.history_length
    network = getattr(heads, record.network)(inputs["num_items"], history_length, config.network)
    inputs |= {
        "config": getattr(config.agents, name) if record.config else None,
        "network": network,
        "history_length": history_length,
        "total_env_steps": config.adapt.env_steps,
        "labelled": labelled,
    }
    return registry.build(name, inputs)

"""Agents by id: how each is made, and which pre-training it starts from."""

from __future__ import annotations

from collections.abc import Callable

from experiments.config import Config
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.a2c_kl import a2c_kl
from ialp_jax.agents.base import Agent
from ialp_jax.agents.dqn import dqn
from ialp_jax.agents.gate import gate
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.jsrl import jsrl
from ialp_jax.agents.mixture import mixture
from ialp_jax.agents.pex import pex
from ialp_jax.agents.pg import pg
from ialp_jax.agents.reference import oracle, popular, random, stayer
from ialp_jax.agents.rlpd import rlpd
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.agents.wsrl import wsrl
from ialp_jax.networks.heads import ActorCritic, QNetwork, Recommender
from ialp_jax.simulator.dynamics import item_scores
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.types import Array, Transition

# Agent id -> folder in pretrain/ of the parameters it starts from.
PRETRAINED = {
    "sasrec": "sasrec",
    "ialp": "ialp",
    "a_ialp_ft": "ialp",
    "a_ialp_ap": "ialp",
    "a2c_warm": "a2c_warm",
    "a_ialp_gate": "ialp",
    "a2c_kl": "ialp",
    "jsrl": "ialp",
    "pex": "ialp",
    "rlpd": "ialp",
    "wsrl": "ialp",
}
REFERENCES = ("random", "popular", "oracle", "stayer")  # the policies that span a world
# Agent id -> its section in the settings of agents; an agent without one has no settings.
AGENT_SETTINGS = {
    "dqn": "dqn",
    "pg": "pg",
    "a2c": "a2c",
    "a2c_warm": "a2c_warm",
    "a_ialp_ft": "ft",
    "a_ialp_ap": "mixture",
    "a_ialp_gate": "gate",
    "a2c_kl": "a2c_kl",
    "jsrl": "jsrl",
    "pex": "pex",
    "rlpd": "rlpd",
    "wsrl": "wsrl",
}
REPLAYS_LABELS = ("rlpd",)  # agents that are also given the labelled transitions


def actor_critic(config: Config, num_items: int) -> ActorCritic:
    """The network of every actor-critic agent."""
    return ActorCritic(num_items, config.simulator.history_length, config.network)


def recommender(config: Config, num_items: int) -> Recommender:
    """The network of the supervised SASRec."""
    return Recommender(num_items, config.simulator.history_length, config.network)


def reference_agents(params: SessionParams, popularity: Array) -> dict[str, Agent]:
    """The policies that span a world: random, popular, oracle, and the stayer that merely avoids exit."""
    num_items = params.user_model.item_bias.shape[0] - 1

    def like_scores(state: SessionState) -> Array:
        return item_scores(state, params)

    def at_ease(state: SessionState) -> Array:
        return state.patience > 2 * params.dislike_cost  # the hard preset takes up to twice the cost at once

    return {
        "random": random(num_items),
        "popular": popular(popularity),
        "oracle": oracle(like_scores),
        "stayer": stayer(like_scores, at_ease),
    }


def make_agent(
    name: str, config: Config, params: SessionParams, popularity: Array, labelled: Transition | None = None
) -> Agent:
    """Builds one agent.

    Args:
      name: its id.
      config: of the run.
      params: of the world; the oracle alone reads its user model.
      popularity: [N + 1], likes by offline users.
      labelled: transitions [M] made by the labels, for agents of `REPLAYS_LABELS`.
    """
    num_items = params.user_model.item_bias.shape[0] - 1
    network = actor_critic(config, num_items)
    settings = config.agents
    references = reference_agents(params, popularity)
    if name in references:
        return references[name]
    makers: dict[str, Callable[[], Agent]] = {
        "sasrec": lambda: sasrec(recommender(config, num_items)),
        "dqn": lambda: dqn(
            settings.dqn, QNetwork(num_items, config.simulator.history_length, config.network)
        ),
        "pg": lambda: pg(settings.pg, network),
        "a2c": lambda: a2c(settings.a2c, network),
        "a2c_warm": lambda: a2c(settings.a2c_warm, network),
        "ialp": lambda: ialp(network),
        "a_ialp_ft": lambda: a2c(settings.ft, network),
        "a_ialp_ap": lambda: mixture(settings.mixture, network, config.adapt.env_steps),
        "a_ialp_gate": lambda: gate(settings.gate, network),
        "a2c_kl": lambda: a2c_kl(settings.a2c_kl, network, config.adapt.env_steps),
        "jsrl": lambda: jsrl(settings.jsrl, network, config.adapt.env_steps),
        "pex": lambda: pex(settings.pex, network),
        "rlpd": lambda: rlpd(settings.rlpd, network, labelled),
        "wsrl": lambda: wsrl(settings.wsrl, network),
    }
    return makers[name]()

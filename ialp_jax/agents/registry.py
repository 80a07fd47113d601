"""The agents: one record each, and how an own agent is added; see the README in this folder.

This module needs no JAX: flags and ``--help`` read it. An agent's module is imported when it is built.
"""

import dataclasses
import functools
import importlib
import inspect
import keyword
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ialp_jax.agents import config as configs
from ialp_jax.errors import InputError
from ialp_jax.settings import LIMITS

if TYPE_CHECKING:
    from ialp_jax.agents.base import Agent

REFERENCES = ("random", "popular", "oracle", "stayer")  # span a world; the stayer is no agent of a run
PRETRAININGS = ("ialp", "a2c_warm", "sasrec")  # on labels, on logs by the same loss, on logs as SASRec


@dataclasses.dataclass(frozen=True)
class AgentRecord:
    """Facts about an agent. `experiments.agents` has its display name and search space.

    Attributes:
      id: the agent's name in ``--config.adapt.agents``, in its settings ``agents.<id>`` and of its folder.
      make: function that returns an `ialp_jax.agents.base.Agent`, or ``module:function``. Its parameters are
        found by name, see `experiments.make_agent.make_agent`: ``config`` (its section), ``network``,
        ``num_items``, ``history_length``, ``total_env_steps``, ``popularity``, ``labelled``, ``like_scores``.
      config: its settings class, or a function that gives the default settings; None if it has none. An
        agent has settings if and only if it learns online.
      starts_from: one of `PRETRAININGS`; `Agent.init` gets its parameters. Empty: from scratch.
      network: class in `ialp_jax.networks.heads` of its ``network``.
      replays_labels: whether it reads the labelled transitions, ``labelled``.
      privileged: whether it sees the simulator's state. Such an agent is a reference, no recommender.
    """

    id: str
    make: str | Callable[..., "Agent"]
    config: Callable[[], Any] | None = None
    starts_from: str = ""
    network: str = "ActorCritic"
    replays_labels: bool = False
    privileged: bool = False


_HERE = "ialp_jax.agents"
_WARM_A2C = configs.WarmA2CConfig
BUILT_IN = (
    AgentRecord("random", f"{_HERE}.reference:random"),
    AgentRecord("popular", f"{_HERE}.reference:popular"),
    AgentRecord("oracle", f"{_HERE}.reference:oracle", privileged=True),
    AgentRecord("sasrec", f"{_HERE}.sasrec:sasrec", starts_from="sasrec", network="Recommender"),
    AgentRecord("dqn", f"{_HERE}.dqn:dqn", configs.DQNConfig, network="QNetwork"),
    AgentRecord("pg", f"{_HERE}.pg:pg", configs.PGConfig),
    AgentRecord("a2c", f"{_HERE}.a2c:a2c", configs.A2CConfig),
    AgentRecord("a2c_warm", f"{_HERE}.a2c:a2c", _WARM_A2C, "a2c_warm"),
    AgentRecord("ialp", f"{_HERE}.ialp:ialp", starts_from="ialp"),
    AgentRecord("a_ialp_ft", f"{_HERE}.a2c:a2c", _WARM_A2C, "ialp"),
    AgentRecord("a_ialp_ap", f"{_HERE}.mixture:mixture", configs.MixtureConfig, "ialp"),
    AgentRecord("a_ialp_gate", f"{_HERE}.gate:gate", configs.GateConfig, "ialp"),
    AgentRecord("a2c_kl", f"{_HERE}.a2c_kl:a2c_kl", configs.KLConfig, "ialp"),
    AgentRecord("jsrl", f"{_HERE}.jsrl:jsrl", configs.JSRLConfig, "ialp"),
    AgentRecord("pex", f"{_HERE}.pex:pex", configs.PEXConfig, "ialp"),
    AgentRecord("rlpd", f"{_HERE}.rlpd:rlpd", configs.RLPDConfig, "ialp", replays_labels=True),
    AgentRecord("wsrl", f"{_HERE}.wsrl:wsrl", configs.WSRLConfig, "ialp"),
)
_RECORDS = {each.id: each for each in BUILT_IN}


def register(new: AgentRecord) -> None:
    """Adds an own agent; call it at the top of a config file, before ``get_config()``.

    The same id may be registered again: a config file may be loaded twice.

    Raises:
      InputError: the id is already used, the id is not an identifier, or a part of the record cannot work.
    """
    where = f"agent {new.id!r}"
    if not new.id.isidentifier() or keyword.iskeyword(new.id):
        raise InputError(f"{where}: its id must be an identifier, because its settings are agents.<id>")
    if any(new.id == other.id for other in BUILT_IN) or hasattr(configs.AgentsConfig(), new.id):
        raise InputError(f"{where}: the package uses this id; give another")
    if new.starts_from and new.starts_from not in PRETRAININGS:
        raise InputError(
            f"{where}: starts_from={new.starts_from!r} must be one of {', '.join(PRETRAININGS)}, or empty"
        )
    if new.config is not None:
        settings = new.config()
        if not dataclasses.is_dataclass(settings):
            raise InputError(f"{where}: its config must be a dataclass, not {type(settings).__name__}")
        if any(isinstance(field.type, str) for field in dataclasses.fields(settings)):
            raise InputError(
                f"{where}: the flags read the field types of {type(settings).__name__}; remove "
                "'from __future__ import annotations' from its file"
            )
    _RECORDS[new.id] = new


def ids() -> list[str]:
    """Ids of all agents, in the order of the records."""
    return list(_RECORDS)


def record(name: str) -> AgentRecord | None:
    """The record of an agent; None if it is not registered in this process."""
    return _RECORDS.get(name)


def starts_from(name: str) -> str:
    """The pre-training that an agent starts from; empty if it starts from nothing or is not known."""
    return known.starts_from if (known := record(name)) else ""


def needs_labels(name: str) -> bool:
    """Whether an agent starts from labels or replays them."""
    return starts_from(name) == "ialp" or bool((known := record(name)) and known.replays_labels)


def learns(name: str) -> bool:
    """Whether an agent learns online, and so has a section of settings."""
    return bool((known := record(name)) and known.config)


def shapes_arrays(path: str) -> bool:
    """Whether array shapes depend on the setting at ``agents.<id>.<name>``."""
    _, agent, name = path.split(".", 2)
    fields = dataclasses.fields(record(agent).config()) if learns(agent) else ()
    return any(
        field.name == name and LIMITS in field.metadata and field.metadata[LIMITS].shapes for field in fields
    )


def agents_config() -> configs.AgentsConfig:
    """The default settings of all registered agents, a section ``<id>`` each, and ``ialp``."""
    return _config_type(tuple(_RECORDS.values()))()


@functools.lru_cache
def _config_type(records: tuple[AgentRecord, ...]) -> type[configs.AgentsConfig]:
    """Returns the same type for the same records, so that configurations can be compared."""
    sections = [
        (known.id, type(known.config()), dataclasses.field(default_factory=known.config))
        for known in records
        if known.config
    ]
    return dataclasses.make_dataclass("AgentsConfig", sections, bases=(configs.AgentsConfig,))


def build(name: str, inputs: Mapping[str, Any]) -> "Agent":
    """Calls an agent's function with the inputs that are named like its parameters.

    Raises:
      InputError: a parameter without default is not among the inputs.
    """
    make = record(name).make
    if isinstance(make, str):
        module, _, function = make.partition(":")
        make = getattr(importlib.import_module(module), function)
    parameters = inspect.signature(make).parameters.values()
    for parameter in parameters:
        if parameter.name not in inputs and parameter.default is parameter.empty:
            raise InputError(
                f"agent {name!r}: its function has a parameter {parameter.name!r}; known: {', '.join(inputs)}"
            )
    return make(**{each.name: inputs[each.name] for each in parameters if each.name in inputs})

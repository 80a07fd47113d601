"""Records of all agents, and `register` for your own agent; see the README in this folder.

This module needs no JAX: flags and ``--help`` read it. An agent's module is imported only when the agent is
built.
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

# Reference policies for every world. A run cannot select the stayer as an agent.
REFERENCES = ("random", "popular", "oracle", "stayer")
# Pre-trainings on labels: ialp learns from the chosen candidate, ialp_soft from the scores of all candidates.
ON_LABELS = ("ialp", "ialp_soft")
# Pre-trainings on logs: a2c_warm uses the loss of ialp; sasrec uses cross-entropy.
PRETRAININGS = (*ON_LABELS, "a2c_warm", "sasrec")


@dataclasses.dataclass(frozen=True)
class AgentRecord:
    """Facts about an agent. `experiments.agents` has its display name and search space.

    Attributes:
      id: name of the agent in ``--config.adapt.agents``, of its settings ``agents.<id>`` and of its folder.
      make: function that returns an `ialp_jax.agents.base.Agent`, or this function as text
        ``module:function``. Its arguments are passed by name, see `experiments.make_agent.make_agent`.
        Possible names: ``config`` (the agent's settings), ``network``, ``num_items``, ``history_length``,
        ``total_env_steps``, ``popularity``, ``labelled``, ``like_scores``.
      config: settings class of the agent, or a function that returns the default settings. None if the agent
        does not learn online; all other agents have settings.
      starts_from: one of `PRETRAININGS`, whose parameters `Agent.init` gets; empty if the agent starts from
        scratch. If the agent has a setting ``start_from``, this setting decides, and the record has its
        default value.
      network: name of the class in `ialp_jax.networks.heads` for the argument ``network``.
      replays_labels: whether the agent uses the argument ``labelled``, the labelled transitions.
      privileged: whether the agent sees the simulator's state. Such an agent is only a reference policy.
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
    AgentRecord("a2c_warm", f"{_HERE}.a2c:a2c", configs.warm_on_logs, "a2c_warm"),
    AgentRecord("ialp", f"{_HERE}.ialp:ialp", starts_from="ialp"),
    AgentRecord("ialp_soft", f"{_HERE}.ialp:ialp", starts_from="ialp_soft"),
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
    """Adds your own agent. Call this function at the top level of a config file, before ``get_config()``.

    You may register the same id again, because a config file may be loaded twice.

    Raises:
      InputError: the package itself uses the id, the id is not an identifier, or the record is not valid.
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
        if (start := getattr(settings, "start_from", "")) not in ("", new.starts_from):
            raise InputError(
                f"{where}: starts_from={new.starts_from!r}, but its settings have start_from={start!r}; "
                "give both the same value"
            )
    _RECORDS[new.id] = new


def ids() -> list[str]:
    """Ids of all agents, in the order of the records."""
    return list(_RECORDS)


def record(name: str) -> AgentRecord | None:
    """The record of an agent; None if it is not registered in this process."""
    return _RECORDS.get(name)


def starts_from(name: str, agents: configs.AgentsConfig | Mapping[str, Any]) -> str:
    """The pre-training that an agent starts from; empty if it starts from scratch or is not registered.

    Args:
      name: id of the agent.
      agents: settings of all agents, from the configuration or as plain data from a ``config.json``.
    """
    plain = agents if isinstance(agents, Mapping) else dataclasses.asdict(agents)
    default = known.starts_from if (known := record(name)) else ""
    return default and plain.get(name, {}).get("start_from", default)


def needs_labels(name: str, agents: configs.AgentsConfig | Mapping[str, Any]) -> bool:
    """Whether an agent starts from pre-training on labels, or replays labelled transitions."""
    replays = bool((known := record(name)) and known.replays_labels)
    return starts_from(name, agents) in ON_LABELS or replays


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
    """The default settings: a section for each registered agent that learns, for ialp and for ialp_soft."""
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
    """Calls the function that makes an agent; each parameter gets the input of the same name.

    Raises:
      InputError: a parameter without a default has no input of the same name.
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

"""The whole configuration of a run: every component's own dataclass, composed.

Here and in the components' config modules annotations are not postponed: the flags read field types.
"""

import dataclasses
import math
import typing
from collections.abc import Collection
from typing import Any

from ialp_jax.agents import registry
from ialp_jax.agents.config import AgentsConfig
from ialp_jax.data.config import DataConfig
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import AuditConfig, LabellingConfig
from ialp_jax.llm.config import MOST_LETTERED, LLMConfig
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.training.config import (
    AdaptConfig,
    CheckpointConfig,
    DevicesConfig,
    EvaluationConfig,
    PretrainConfig,
)

MOST = 2**31 - 1  # of whole numbers: JAX counts in 32 bits


def check_fields(config: Any, flag: str = "--config") -> None:
    """Checks what a config file may have assigned: names, types, finite numbers. ``flag`` leads the message.

    Raises:
      InputError: a name that is no setting, a value of another type, NaN, infinity or beyond 32 bits.
    """
    wanted = {
        field.name: typing.get_args(field.type) or (field.type,) for field in dataclasses.fields(config)
    }
    for name, value in vars(config).items():
        where, types = f"{flag}.{name}", wanted.get(name)
        if types is None:
            raise InputError(f"{where}: no such setting; --helpfull lists all settings")
        fits = isinstance(value, (*types, *((int,) if float in types else ())))
        if not fits or (isinstance(value, bool) and bool not in types):
            raise InputError(f"{where}={value!r}: must be of type {types[0].__name__}")
        if dataclasses.is_dataclass(value):
            check_fields(value, where)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where}={value}: must be a finite number")
        elif isinstance(value, int) and abs(value) > MOST:
            raise InputError(f"{where}={value}: must be at most {MOST}")


def check_name(name: str) -> None:
    """Raises InputError where a name cannot be that of a folder."""
    if (
        not name.isprintable()
        or name != name.strip(" .")
        or not name
        or set(name) & set("/\\")
        or len(name) > 200
    ):
        raise InputError(f"--config.name={name!r}: must be the name of a folder, without / and not empty")


@dataclasses.dataclass
class Config:
    """One run: a world, the labels, the policies and their comparison.

    Attributes:
      name: of the run; its folder is runs/<name> unless --workdir says otherwise.
      seed: from which all randomness derives.
      num_seeds: S, independent repetitions of all training.
      data: which data set.
      simulator: the simulated users.
      network: the state encoder.
      llm: who labels.
      labelling: how many labels, of what.
      audit: whether labels prefer what users really took.
      pretrain: offline training.
      agents: settings of each agent, in a section named by its id; ialp is the loss of the pre-training.
      adapt: online training.
      evaluation: how policies are measured.
      devices: how training shares several devices.
      checkpoint: how often a stage in progress is saved.
      tensorboard: whether event files for TensorBoard are written, to ``tensorboard/``.
    """

    name: str = "quickstart"
    seed: int = 0
    num_seeds: int = 3
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    simulator: SimulatorConfig = dataclasses.field(default_factory=SimulatorConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    llm: LLMConfig = dataclasses.field(default_factory=LLMConfig)
    labelling: LabellingConfig = dataclasses.field(default_factory=LabellingConfig)
    audit: AuditConfig = dataclasses.field(default_factory=AuditConfig)
    pretrain: PretrainConfig = dataclasses.field(default_factory=PretrainConfig)
    agents: AgentsConfig = dataclasses.field(default_factory=registry.agents_config)
    adapt: AdaptConfig = dataclasses.field(default_factory=AdaptConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    tensorboard: bool = True

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        check_fields(self)
        check_name(self.name)
        if self.num_seeds < 1 or self.seed < 0:
            raise InputError("--config.num_seeds must be at least 1 and --config.seed at least 0")
        for field in dataclasses.fields(self):
            part = getattr(self, field.name)
            if dataclasses.is_dataclass(part):
                part.check()
        if self.llm.mode != "likelihood" and self.labelling.candidates > MOST_LETTERED:
            raise InputError(
                f"--config.labelling.candidates={self.labelling.candidates}: with --config.llm.mode="
                f"{self.llm.mode} letters name at most {MOST_LETTERED} candidates and none"
            )
        check_names("--config.adapt.agents", self.adapt.agents, registry.ids())

    def agent_ids(self) -> list[str]:
        """The agents to run, in the order in which they were named."""
        return names_in(self.adapt.agents)


def names_in(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_names(flag: str, text: str, known: Collection[str], least: int = 1) -> None:
    """Raises InputError where a list has an unknown name, one twice, or fewer than ``least``."""
    names = names_in(text)
    for name in names:
        if name not in known:
            raise InputError(f"{flag}: unknown {name!r}; known: {', '.join(known)}")
        if names.count(name) > 1:
            raise InputError(f"{flag}: {name!r} stands there twice")
    if len(names) < least:
        raise InputError(f"{flag}: name at least one")

"""The configuration of a run, composed of the dataclasses of its components.

Config modules do not postpone annotations, because the flags read the types of fields.
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

MOST = 2**31 - 1  # largest integer setting, because JAX uses 32-bit integers


def check_fields(config: Any, flag: str = "--config") -> None:
    """Checks the names, types and ranges of settings, because a config file may assign any value.

    Args:
      config: dataclass of settings.
      flag: prefix of the setting names in error messages.

    Raises:
      InputError: a name is not a setting, or a value has the wrong type, is not finite or exceeds 32 bits.
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
    """Raises InputError if a name cannot be the name of a folder."""
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
    """Settings of a run, which compares policies in one world.

    Attributes:
      name: name of the run; the run folder is runs/<name> unless --workdir is given.
      seed: seed of the run; all random numbers are derived from this seed.
      num_seeds: number S of independent repetitions of all training.
      data: data set.
      simulator: simulated users.
      network: state encoder.
      llm: language model that labels prompts.
      labelling: source and number of the labels.
      audit: test of the labels on held-out interactions.
      pretrain: offline training.
      agents: settings of each agent, in a section named by its id; section ialp has the pre-training loss.
      adapt: online training.
      evaluation: how policies are measured.
      devices: how training is divided among several devices.
      checkpoint: how often a stage in progress is saved.
      tensorboard: whether event files for TensorBoard are written to <workdir>/tensorboard/.
      compilation_cache: folder in which compiled programs are kept for later runs. It holds at most 1 GiB for
        each version of JAX and each processor. It must belong to you, because its programs are run. It must
        be local and outside the run folder. ``auto``: ialp_jax/compiled in your cache folder (~/.cache);
        ``off`` or empty: no folder. The environment variable JAX_COMPILATION_CACHE_DIR takes precedence.
        Results do not depend on this setting.
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
    compilation_cache: str = "auto"

    def check(self) -> None:
        """Raises InputError if settings are invalid."""
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
        """Ids of the agents to run, in the order of ``adapt.agents``."""
        return names_in(self.adapt.agents)


def names_in(text: str) -> list[str]:
    """Splits a comma-separated list into names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_names(flag: str, text: str, known: Collection[str], least: int = 1) -> None:
    """Raises InputError if a list has an unknown name, a repeated name, or fewer than ``least`` names."""
    names = names_in(text)
    for name in names:
        if name not in known:
            raise InputError(f"{flag}: unknown {name!r}; known: {', '.join(known)}")
        if names.count(name) > 1:
            raise InputError(f"{flag}: {name!r} stands there twice")
    if len(names) < least:
        raise InputError(f"{flag}: name at least one")

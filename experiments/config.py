"""The whole configuration of a run: every component's own dataclass, composed.

Here and in the components' config modules annotations are not postponed: the flags read field types.
"""

import dataclasses

from ialp_jax.agents.config import AgentsConfig
from ialp_jax.data.config import DataConfig
from ialp_jax.errors import InputError
from ialp_jax.evaluation.audit_config import AuditConfig
from ialp_jax.llm.config import MOST_LETTERED, LLMConfig
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.training.config import (
    AdaptConfig,
    CheckpointConfig,
    EvaluationConfig,
    LabellingConfig,
    PretrainConfig,
)

AGENT_IDS = (
    "random",
    "popular",
    "oracle",
    "sasrec",
    "dqn",
    "pg",
    "a2c",
    "a2c_warm",
    "ialp",
    "a_ialp_ft",
    "a_ialp_ap",
    "a_ialp_gate",
    "a2c_kl",
    "jsrl",
    "pex",
    "rlpd",
    "wsrl",
)


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
      agents: each method's own settings.
      adapt: online training.
      evaluation: how policies are measured.
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
    agents: AgentsConfig = dataclasses.field(default_factory=AgentsConfig)
    adapt: AdaptConfig = dataclasses.field(default_factory=AdaptConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    tensorboard: bool = True

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
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
        for agent in self.agent_ids():
            if agent not in AGENT_IDS:
                raise InputError(f"--config.adapt.agents: unknown {agent!r}; known: {', '.join(AGENT_IDS)}")

    def agent_ids(self) -> list[str]:
        """The agents to run, in the order in which they were named."""
        return [name.strip() for name in self.adapt.agents.split(",") if name.strip()]

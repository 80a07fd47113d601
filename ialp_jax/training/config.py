"""Settings of pre-training, adaptation and evaluation."""

import dataclasses

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

UNIT = 1000  # env steps of one unit of an adaptation; evaluations and checkpoints lie between two units


@dataclasses.dataclass
class PretrainConfig:
    """Offline training of iALP, of the control a2c_warm and of the supervised SASRec.

    Attributes:
      batch_size: transitions (iALP, a2c_warm) or windows (sasrec) per gradient step.
      learning_rate: of Adam, in all pre-trainings and in the label stage.
      ialp_learning_rate, warm_learning_rate, sasrec_learning_rate: learning rates of the three pre-trainings.
        The label stage does not use them. None: learning_rate.
      target_rate: share of the network that enters the target network per gradient step.
      updates_per_round: gradient steps of iALP after each labelling round, on all rounds so far.
      ialp_updates: the same number, but only for the pretrain stage; 0: updates_per_round.
      warm_updates: gradient steps of a2c_warm on logged next items.
      sasrec_updates: gradient steps of the supervised SASRec.
      max_gradient_norm: longer gradients are scaled down to this norm.
      evaluations: points of the pre-training curves (return on tuning users).
    """

    batch_size: int = setting(256, above=0)
    learning_rate: float = setting(3e-3, above=0)
    ialp_learning_rate: float | None = setting(None, above=0)
    warm_learning_rate: float | None = setting(None, above=0)
    sasrec_learning_rate: float | None = setting(None, above=0)
    target_rate: float = setting(0.02, above=0)
    updates_per_round: int = setting(150, above=0)
    ialp_updates: int = setting(0, at_least=0)
    warm_updates: int = setting(600, above=0)
    sasrec_updates: int = setting(600, above=0)
    max_gradient_norm: float = setting(1.0, above=0)
    evaluations: int = setting(6, above=0)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "pretrain")


@dataclasses.dataclass
class AdaptConfig:
    """Online adaptation.

    Attributes:
      env_steps: steps of all users together, a multiple of 1,000.
      agents: comma-separated ids of the agents to run.
      seeds_by: how seeds share a device: ``vmap``, ``map`` (one after the other) or ``auto``.
    """

    env_steps: int = 50_000
    agents: str = "random,popular,oracle,sasrec,dqn,pg,a2c,a2c_warm,ialp,a_ialp_ft,a_ialp_ap"
    seeds_by: str = setting("auto", choices=("auto", "vmap", "map"))

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.env_steps < UNIT or self.env_steps % UNIT:
            raise InputError(f"--config.adapt.env_steps={self.env_steps} must be a multiple of {UNIT}")
        settings.check(self, "adapt")


@dataclasses.dataclass
class DevicesConfig:
    """How pre-training and adaptation share several devices.

    On a CPU every core is a device; ``JAX_NUM_CPU_DEVICES`` sets another number.

    Attributes:
      seeds: number of shares of the seeds; each share has its devices. 0: as many as divide num_seeds.
      users: number of shares of every batch of users or rows; 0: as many as the remaining devices allow and
        as divide the batch evenly. With several shares gradients are summed in another order, so rounding
        differs.
    """

    seeds: int = setting(0, at_least=0)
    users: int = setting(1, at_least=0)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "devices")


@dataclasses.dataclass
class CheckpointConfig:
    """Checkpoints of trainings that are not finished; they change no result.

    Attributes:
      every: least number of env steps between two checkpoints of an adaptation, a multiple of 1,000; 0: no
        training makes checkpoints.
      seconds: least number of seconds between two checkpoints. A checkpoint with the replay buffers of 10
        seeds (110 MB) takes half a second of a core, under 2 % of the default.
      keep: number of checkpoints of one training that are kept, the newest ones.
    """

    every: int = 10_000
    seconds: float = setting(30.0, at_least=0)
    keep: int = setting(2, at_least=1)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.every < 0 or self.every % UNIT:
            raise InputError(f"--config.checkpoint.every={self.every} must be 0 or a multiple of {UNIT}")
        settings.check(self, "checkpoint")


@dataclasses.dataclass
class EvaluationConfig:
    """How policies are evaluated.

    Attributes:
      episodes: sessions of evaluation users at each point, the same ones for every agent and seed.
      points: approximate number of evaluation points. The early ones are fixed at 0, 1, 2, 3, 5, 7, 10, 15
        and 20 thousand env steps; the others follow, evenly spaced.
      greedy: whether the mode of each policy is evaluated instead of samples; DQN is always evaluated without
        its random actions.
      users: on whom agents are evaluated: ``evaluation`` users, or ``tuning`` users to choose settings.
    """

    episodes: int = setting(256, above=0)
    points: int = setting(16, at_least=2)
    greedy: bool = False
    users: str = setting("evaluation", choices=("evaluation", "tuning"))

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "evaluation")

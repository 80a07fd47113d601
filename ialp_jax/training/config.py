"""Settings of pre-training, adaptation and evaluation."""

import dataclasses

from ialp_jax.errors import InputError

EVALUATED_ON = ("evaluation", "tuning")
UNIT = 1000  # env steps of one unit of an adaptation; evaluations and checkpoints lie between two units


def _check_positive(section: str, **values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise InputError(f"--config.{section}.{name}={value} must be positive")


@dataclasses.dataclass
class PretrainConfig:
    """Offline training of iALP, of the control a2c_warm and of the supervised SASRec.

    Attributes:
      batch_size: transitions (iALP, a2c_warm) or windows (sasrec) per gradient step.
      learning_rate: of Adam, in all pre-trainings and in the label stage.
      ialp_learning_rate, warm_learning_rate, sasrec_learning_rate: the learning rate of one pre-training, but
        not of the label stage; None: learning_rate.
      target_rate: share of the network that enters the target network per gradient step.
      updates_per_round: gradient steps of iALP after each labelling round, on all rounds so far.
      ialp_updates: the same in the pretrain stage only, not in the label stage; 0: updates_per_round.
      warm_updates: gradient steps of a2c_warm on logged next items.
      sasrec_updates: gradient steps of the supervised SASRec.
      max_gradient_norm: longer gradients are scaled down to this norm.
      evaluations: points of the pre-training curves (return on tuning users).
    """

    batch_size: int = 256
    learning_rate: float = 3e-3
    ialp_learning_rate: float | None = None
    warm_learning_rate: float | None = None
    sasrec_learning_rate: float | None = None
    target_rate: float = 0.02
    updates_per_round: int = 150
    ialp_updates: int = 0
    warm_updates: int = 600
    sasrec_updates: int = 600
    max_gradient_norm: float = 1.0
    evaluations: int = 6

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if given.pop("ialp_updates") < 0:
            raise InputError(f"--config.pretrain.ialp_updates={self.ialp_updates} must be at least 0")
        _check_positive("pretrain", **given)


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
    seeds_by: str = "auto"

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.env_steps < UNIT or self.env_steps % UNIT:
            raise InputError(f"--config.adapt.env_steps={self.env_steps} must be a multiple of {UNIT}")
        if self.seeds_by not in ("auto", "vmap", "map"):
            raise InputError(f"--config.adapt.seeds_by={self.seeds_by!r} must be auto, vmap or map")


@dataclasses.dataclass
class DevicesConfig:
    """How pre-training and adaptation share several devices.

    On a CPU every core is a device; ``JAX_NUM_CPU_DEVICES`` sets another number.

    Attributes:
      seeds: number of shares of the seeds; each share has its devices. 0: as many as divide num_seeds.
      users: number of shares of every batch of users or rows; 0: as many as the remaining devices allow and
        as divide the batch. With several shares gradients are summed in another order, so rounding differs.
    """

    seeds: int = 0
    users: int = 1

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        for name, value in dataclasses.asdict(self).items():
            if value < 0:
                raise InputError(f"--config.devices.{name}={value} must be at least 0")


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
    seconds: float = 30.0
    keep: int = 2

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.every < 0 or self.every % UNIT:
            raise InputError(f"--config.checkpoint.every={self.every} must be 0 or a multiple of {UNIT}")
        if not 0 <= self.seconds < float("inf"):
            raise InputError(f"--config.checkpoint.seconds={self.seconds} must be at least 0")
        if self.keep < 1:
            raise InputError(f"--config.checkpoint.keep={self.keep} must be at least 1")


@dataclasses.dataclass
class EvaluationConfig:
    """How policies are evaluated.

    Attributes:
      episodes: sessions of evaluation users at each point, the same ones for every agent and seed.
      points: about how many evaluation points there are. The early ones are fixed at 0, 1, 2, 3, 5, 7, 10,
        15 and 20 thousand env steps; the others follow, evenly spaced.
      greedy: whether the mode of each policy is evaluated instead of samples; DQN is always evaluated without
        its random actions.
      users: on whom agents are evaluated: ``evaluation`` users, or ``tuning`` users to choose settings.
    """

    episodes: int = 256
    points: int = 16
    greedy: bool = False
    users: str = "evaluation"

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        _check_positive("evaluation", episodes=self.episodes)
        if self.points < 2:
            raise InputError(f"--config.evaluation.points={self.points} must be at least 2")
        if self.users not in EVALUATED_ON:
            raise InputError(
                f"--config.evaluation.users={self.users!r} must be one of {', '.join(EVALUATED_ON)}"
            )

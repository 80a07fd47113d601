"""Settings of pre-training, adaptation and evaluation."""

import dataclasses

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

UNIT = 1000  # env steps in a unit of adaptation; evaluations and checkpoints happen only between units


@dataclasses.dataclass
class PretrainConfig:
    """Offline training of iALP, of ialp_soft, of the control a2c_warm and of the supervised SASRec.

    Attributes:
      batch_size: transitions (ialp, ialp_soft, a2c_warm) or windows (sasrec) per gradient step.
      learning_rate: learning rate of Adam in the label stage and, by default, in all pre-trainings.
      ialp_learning_rate, soft_learning_rate, warm_learning_rate, sasrec_learning_rate: learning rates of the
        four pre-trainings, but not of the label stage. None: learning_rate.
      target_rate: rate of the target network: after each gradient step, target = (1 - rate) * target + rate *
        network.
      updates_per_round: gradient steps of iALP after each labelling round, on the labels of all rounds so
        far.
      ialp_updates, soft_updates: gradient steps of ialp and of ialp_soft per labelling round in the pretrain
        stage; 0: updates_per_round.
      warm_updates: gradient steps of a2c_warm, which learns from the next items in logs.
      sasrec_updates: gradient steps of the supervised SASRec.
      max_gradient_norm: a gradient with a larger norm is scaled down to this norm.
      evaluations: number of points after the first on the pre-training curves of a2c_warm and sasrec. Each
        point is the return on tuning users. The curves of ialp and ialp_soft have one point per round.
        warm_updates and sasrec_updates are rounded down to a multiple of this number, which is their minimum.
      temperatures: comma-separated temperatures, each positive. A pre-trained policy acts by softmax(logits /
        temperature). After each pre-training, the policy plays with tuning users at every temperature; the
        one with the highest mean return is used. A single temperature is used without playing.
      temperature_episodes: sessions of tuning users at each temperature, the same ones for every temperature,
        pre-training and seed.
    """

    batch_size: int = setting(256, above=0)
    learning_rate: float = setting(3e-3, above=0)
    ialp_learning_rate: float | None = setting(None, above=0)
    soft_learning_rate: float | None = setting(None, above=0)
    warm_learning_rate: float | None = setting(None, above=0)
    sasrec_learning_rate: float | None = setting(None, above=0)
    target_rate: float = setting(0.02, above=0)
    updates_per_round: int = setting(150, above=0)
    ialp_updates: int = setting(0, at_least=0)
    soft_updates: int = setting(0, at_least=0)
    warm_updates: int = setting(600, above=0)
    sasrec_updates: int = setting(600, above=0)
    max_gradient_norm: float = setting(1.0, above=0)
    evaluations: int = setting(6, above=0)
    temperatures: str = "0.03125,0.0625,0.125,0.25,0.5,1"
    temperature_episodes: int = setting(256, above=0)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "pretrain")
        self.temperature_values()

    def temperature_values(self) -> list[float]:
        """The numbers in ``temperatures``; raises InputError if these are not different and usable."""
        flag = f"--config.pretrain.temperatures={self.temperatures}"
        try:
            values = [float(text) for text in self.temperatures.split(",")]
        except ValueError:
            raise InputError(f"{flag} must be numbers with commas between them") from None
        if not all(1e-6 <= value <= 1e6 for value in values) or len(set(values)) < len(values):
            raise InputError(f"{flag} must be different numbers from 1e-6 to 1e6")
        return values


@dataclasses.dataclass
class AdaptConfig:
    """Online adaptation.

    Attributes:
      env_steps: steps of all users together, a multiple of 1,000.
      agents: comma-separated ids of the agents to run.
      seeds_by: how seeds share a device: ``vmap``, ``map`` (one after the other) or ``auto``.
      keep: states of each agent and seed that are saved for later use: those after the ``last`` step, those
        of the evaluation point with the ``best`` mean return of the seed, or ``none``. The best point is
        selected in the ``evaluation.episodes`` sessions that all points share, which are of evaluation users,
        so its return is optimistic. If this setting changes, finished
        agents are trained again only with --redo; without it, a line says which states are missing.
    """

    env_steps: int = 50_000
    agents: str = "random,popular,oracle,sasrec,dqn,pg,a2c,a2c_warm,ialp,ialp_soft,a_ialp_ft,a_ialp_ap"
    seeds_by: str = setting("auto", choices=("auto", "vmap", "map"))
    keep: str = setting("last", choices=("last", "best", "none"))

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.env_steps < UNIT or self.env_steps % UNIT:
            raise InputError(f"--config.adapt.env_steps={self.env_steps} must be a multiple of {UNIT}")
        settings.check(self, "adapt")


@dataclasses.dataclass
class DevicesConfig:
    """How pre-training and adaptation share several devices.

    On a CPU every core is a device; ``JAX_NUM_CPU_DEVICES`` changes the number of devices.

    Attributes:
      seeds: number of equal parts into which the seeds are divided; each part runs on its own devices. 0: the
        largest number of parts for which there are devices and which divides num_seeds.
      users: number of equal parts into which every batch of users or rows is divided. 0: as many equal
        parts as the remaining devices allow. With several parts, gradients are summed in another order, so
        rounding differs.
    """

    seeds: int = setting(0, at_least=0)
    users: int = setting(1, at_least=0)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "devices")


@dataclasses.dataclass
class CheckpointConfig:
    """Checkpoints of unfinished trainings. These settings do not change results.

    Attributes:
      every: minimum number of env steps between two checkpoints of an adaptation, a multiple of 1,000. 0
        switches off the checkpoints of all trainings.
      seconds: minimum number of seconds between two checkpoints. A checkpoint with the replay buffers of 10
        seeds (110 MB) takes half a second on one core, under 2 % of the default interval.
      keep: number of checkpoints to keep per training; older checkpoints are deleted.
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
      episodes: sessions at each point between the first and the last one. All sessions are the same for every
        agent and seed, and each user has as equally many of them as possible.
      ends: sessions at the first and the last point, and of agents that do not learn; at least ``episodes``.
        They include the sessions of the points between. The returns of all ``ends`` sessions differ from
        those of the first ``episodes`` sessions. This difference, measured at both ends, corrects returns and
        lengths at the points between. Coverage, Gini coefficient and category entropy grow with the number of
        sessions, so they use ``episodes`` sessions at all points.
      points: approximate number of evaluation points. The early points are fixed at 0, 1, 2, 3, 5, 7, 10, 15
        and 20 thousand env steps; the later points are evenly spaced.
      greedy: whether policies take their most probable action in evaluation, instead of a sample. DQN never
        takes random actions in evaluation.
      users: on whom agents are evaluated: ``evaluation`` users, or ``tuning`` users to choose settings.
    """

    episodes: int = setting(256, above=0)
    ends: int = setting(2048, above=0)
    points: int = setting(16, at_least=2)
    greedy: bool = False
    users: str = setting("evaluation", choices=("evaluation", "tuning"))

    @property
    def at_ends(self) -> int:
        """Number of sessions at the first and the last point."""
        return max(self.ends, self.episodes)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "evaluation")

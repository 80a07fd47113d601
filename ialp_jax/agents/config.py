"""Settings of every agent, one dataclass each."""

import dataclasses

from ialp_jax.errors import InputError

SCHEDULES = ("linear", "cosine", "constant")
STARTS = ("pretrained", "random")
GRADIENTS = ("importance", "mixture")
ACTOR_WEIGHTS = ("q", "advantage", "reward")
ALTERNATIVES = ("candidates", "catalogue")
BACKUPS = ("policy", "max")
DIRECTIONS = ("reverse", "forward")


def _check_choice(section: str, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"--config.agents.{section}.{name}={value!r} must be one of {', '.join(known)}")


def _check_positive(section: str, **values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise InputError(f"--config.agents.{section}.{name}={value} must be positive")


def _check_share(section: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InputError(f"--config.agents.{section}.{name}={value} must be in [0, 1]")


def _check_replay(section: str, config: "DQNConfig | OffPolicyConfig") -> None:
    """What every agent that learns from replay needs."""
    names = ("num_users", "rollout_length", "learning_rate", "batch_size", "gradient_steps")
    _check_positive(section, **{name: getattr(config, name) for name in names})
    _check_share(section, discount=config.discount, target_rate=config.target_rate)
    if config.capacity < config.num_users * config.rollout_length:
        raise InputError(f"--config.agents.{section}.capacity must hold num_users * rollout_length")


@dataclasses.dataclass
class DQNConfig:
    """Double DQN with a target network and uniform replay.

    Attributes:
      num_users, rollout_length: users in parallel and steps of each between updates.
      learning_rate: of Adam.
      discount: gamma.
      batch_size: replayed transitions per gradient step.
      gradient_steps: per update.
      capacity: transitions in the replay buffer.
      target_rate: share of the online network that enters the target network per gradient step.
      epsilon_start, epsilon_end: share of random actions, falling linearly ...
      epsilon_steps: ... over so many env steps.
    """

    num_users: int = 20
    rollout_length: int = 5
    learning_rate: float = 1e-3
    discount: float = 0.9
    batch_size: int = 256
    gradient_steps: int = 2
    capacity: int = 20_000
    target_rate: float = 0.02
    epsilon_start: float = 1.0
    epsilon_end: float = 0.02
    epsilon_steps: int = 20_000

    def check(self, section: str = "dqn") -> None:
        """Raises InputError for settings that cannot work."""
        _check_replay(section, self)
        _check_positive(section, epsilon_steps=self.epsilon_steps)
        _check_share(section, epsilon_start=self.epsilon_start, epsilon_end=self.epsilon_end)


@dataclasses.dataclass
class PGConfig:
    """REINFORCE with a learned baseline, on complete sessions.

    Attributes:
      num_users, rollout_length: users in parallel and steps of each between updates.
      learning_rate: of Adam.
      discount: gamma.
      entropy_cost: weight of the entropy bonus.
      value_cost: weight of the baseline's loss.
      max_gradient_norm: gradients are clipped to it.
    """

    num_users: int = 10
    rollout_length: int = 20
    learning_rate: float = 3e-3
    discount: float = 0.9
    entropy_cost: float = 1e-3
    value_cost: float = 0.5
    max_gradient_norm: float = 1.0

    def check(self, section: str = "pg") -> None:
        """Raises InputError for settings that cannot work."""
        _check_positive(
            section,
            num_users=self.num_users,
            rollout_length=self.rollout_length,
            learning_rate=self.learning_rate,
            max_gradient_norm=self.max_gradient_norm,
        )
        _check_share(section, discount=self.discount)


@dataclasses.dataclass
class A2CConfig:
    """Advantage actor-critic with generalised advantages.

    Attributes:
      critic_start: what the critic's head starts from where the policy is pre-trained: ``random`` or
        ``pretrained``; a label's reward is not a user's, and a critic that expects too much makes every
        action look bad.
      num_users, rollout_length: users in parallel and steps of each between updates.
      learning_rate: of Adam.
      discount: gamma.
      trace: lambda of the generalised advantages; 0 is one-step, 1 Monte Carlo within the rollout.
      entropy_cost: weight of the entropy bonus.
      value_cost: weight of the critic's loss.
      max_gradient_norm: gradients are clipped to it.
    """

    num_users: int = 20
    rollout_length: int = 5
    learning_rate: float = 3e-3
    discount: float = 0.9
    trace: float = 0.9
    critic_start: str = "random"
    entropy_cost: float = 1e-3
    value_cost: float = 0.5
    max_gradient_norm: float = 1.0

    def check(self, section: str = "a2c") -> None:
        """Raises InputError for settings that cannot work."""
        _check_positive(
            section,
            num_users=self.num_users,
            rollout_length=self.rollout_length,
            learning_rate=self.learning_rate,
            max_gradient_norm=self.max_gradient_norm,
        )
        _check_share(section, discount=self.discount, trace=self.trace)
        _check_choice(section, "critic_start", self.critic_start, STARTS)


@dataclasses.dataclass
class MixtureConfig(A2CConfig):
    """A-iALP_ap: a frozen policy mixed with one that learns online, whose share grows by a clock.

    Beside the settings of A2C:

    Attributes:
      gradient: ``importance`` (pi_beta's log-probability, weighted by pi_beta / mixture) or ``mixture``
        (the mixture's log-probability).
      max_ratio: importance weights are clipped to it.
      schedule: how alpha, the share of the learning policy, grows: linear, cosine or constant.
      alpha_start: at the first step (and for ever, where the schedule is constant).
      alpha_end: reached after ``alpha_steps``.
      alpha_steps: env steps; 0 means all of the adaptation.
      start: what pi_beta starts from, ``pretrained`` or ``random``.
    """

    learning_rate: float = 1e-3
    gradient: str = "importance"
    max_ratio: float = 1.0
    schedule: str = "linear"
    alpha_start: float = 0.0
    alpha_end: float = 1.0
    alpha_steps: int = 0
    start: str = "pretrained"

    def check(self, section: str = "mixture") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        _check_choice(section, "gradient", self.gradient, GRADIENTS)
        _check_positive(section, max_ratio=self.max_ratio)
        _check_share(section, alpha_start=self.alpha_start, alpha_end=self.alpha_end)
        _check_choice(section, "schedule", self.schedule, SCHEDULES)
        _check_choice(section, "start", self.start, STARTS)
        if self.alpha_steps < 0:
            raise InputError(f"--config.agents.{section}.alpha_steps={self.alpha_steps} must be >= 0")


@dataclasses.dataclass
class GateConfig(A2CConfig):
    """A-iALP_gate: what is known of users, and the pre-trained policy, weighted state by state.

    Beside the settings of A2C:

    Attributes:
      evidence: weight of the users' answers so far at the first step; it is learned.
      slow_rate: the pre-trained policy's learning rate as a share of ``learning_rate``; 0 freezes it.
    """

    evidence: float = 3.0
    slow_rate: float = 0.1

    def check(self, section: str = "gate") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        _check_positive(section, evidence=self.evidence)
        if not 0 <= self.slow_rate <= 1:
            raise InputError(f"--config.agents.{section}.slow_rate={self.slow_rate} must lie in 0..1")


@dataclasses.dataclass
class IALPConfig:
    """The loss of the offline pre-training.

    Attributes:
      discount: gamma of the Q-learning target.
      actor_weight: what log pi(a | s) is weighted by: ``q`` (Q(s, a)), ``advantage`` (Q(s, a) - V(s)) or
        ``reward`` (the label itself).
      alternatives: among what pi(a | s) is a choice: the prompt's ``candidates``, or the ``catalogue``.
      backup: what the critic's target takes for the worth of the next state: ``policy`` (its value under
        the present policy) or ``max`` (double Q-learning; on items that no label ever chose the maximum
        overestimates without bound).
      critic_cost: weight of the critic's loss.
      entropy_cost: weight of the entropy bonus.
    """

    discount: float = 0.9
    actor_weight: str = "reward"
    alternatives: str = "candidates"
    backup: str = "policy"
    critic_cost: float = 0.5
    entropy_cost: float = 1e-3

    def check(self, section: str = "ialp") -> None:
        """Raises InputError for settings that cannot work."""
        _check_share(section, discount=self.discount)
        _check_choice(section, "actor_weight", self.actor_weight, ACTOR_WEIGHTS)
        _check_choice(section, "alternatives", self.alternatives, ALTERNATIVES)
        _check_choice(section, "backup", self.backup, BACKUPS)


@dataclasses.dataclass
class KLConfig(A2CConfig):
    """A2C held near the frozen policy by a divergence.

    Beside the settings of A2C:

    Attributes:
      kl_cost: weight of the divergence from the frozen policy at the first step.
      kl_cost_end: reached linearly after ``kl_steps``.
      kl_steps: env steps; 0 means all of the adaptation.
      kl_direction: ``reverse``, KL(pi || frozen), or ``forward``, KL(frozen || pi).
    """

    learning_rate: float = 1e-3
    kl_cost: float = 0.1
    kl_cost_end: float = 0.0
    kl_steps: int = 0
    kl_direction: str = "reverse"

    def check(self, section: str = "a2c_kl") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        _check_choice(section, "kl_direction", self.kl_direction, DIRECTIONS)
        if min(self.kl_cost, self.kl_cost_end, self.kl_steps) < 0:
            raise InputError(f"--config.agents.{section}: kl_cost, kl_cost_end and kl_steps must be >= 0")


@dataclasses.dataclass
class JSRLConfig(A2CConfig):
    """Jump-start: the frozen policy acts first in every session, the learner after it.

    Beside the settings of A2C:

    Attributes:
      guide_start: share of the horizon that the frozen policy acts for at the first env step.
      guide_end: reached linearly after ``guide_steps``.
      guide_steps: env steps; 0 means all of the adaptation.
      start: what the learner starts from, ``pretrained`` or ``random``.
    """

    learning_rate: float = 1e-3
    guide_start: float = 0.5
    guide_end: float = 0.0
    guide_steps: int = 0
    start: str = "pretrained"

    def check(self, section: str = "jsrl") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        _check_share(section, guide_start=self.guide_start, guide_end=self.guide_end)
        _check_choice(section, "start", self.start, STARTS)
        if self.guide_steps < 0:
            raise InputError(f"--config.agents.{section}.guide_steps={self.guide_steps} must be >= 0")


@dataclasses.dataclass
class OffPolicyConfig:
    """An actor-critic that learns from replay.

    Attributes:
      critic_start: what the critic's heads start from, ``pretrained`` or ``random``.
      num_users, rollout_length: users in parallel and steps of each between updates.
      learning_rate: of Adam.
      discount: gamma.
      batch_size: replayed transitions per gradient step.
      gradient_steps: per update.
      capacity: transitions in the replay buffer.
      target_rate: share of the online network that enters the target network per gradient step.
      critic_cost: weight of the critic's loss.
      entropy_cost: weight of the entropy bonus.
      max_gradient_norm: gradients are clipped to it.
    """

    critic_start: str = "pretrained"
    num_users: int = 20
    rollout_length: int = 5
    learning_rate: float = 1e-3
    discount: float = 0.9
    batch_size: int = 256
    gradient_steps: int = 2
    capacity: int = 20_000
    target_rate: float = 0.02
    critic_cost: float = 0.5
    entropy_cost: float = 1e-3
    max_gradient_norm: float = 1.0

    def check(self, section: str) -> None:
        """Raises InputError for settings that cannot work."""
        _check_replay(section, self)
        _check_positive(section, max_gradient_norm=self.max_gradient_norm)
        _check_choice(section, "critic_start", self.critic_start, STARTS)


@dataclasses.dataclass
class PEXConfig(OffPolicyConfig):
    """Policy expansion: one action each of the frozen and the learning policy, chosen between by Q.

    Beside the settings of learning from replay:

    Attributes:
      start: what the learning policy's head starts from, ``pretrained`` or ``random``.
      temperature: of the softmax over the two Q values.
      weight_temperature: of the learner's weights exp(advantage / temperature).
      max_weight: the weights are clipped to it.
    """

    start: str = "pretrained"
    temperature: float = 0.1
    weight_temperature: float = 0.1
    max_weight: float = 100.0

    def check(self, section: str = "pex") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        _check_choice(section, "start", self.start, STARTS)
        _check_positive(
            section,
            temperature=self.temperature,
            weight_temperature=self.weight_temperature,
            max_weight=self.max_weight,
        )


@dataclasses.dataclass
class RLPDConfig(OffPolicyConfig):
    """Labelled transitions replayed beside online ones.

    Beside the settings of learning from replay:

    Attributes:
      labelled_share: share of each batch that is drawn from the labelled transitions.
    """

    labelled_share: float = 0.5

    def check(self, section: str = "rlpd") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        _check_share(section, labelled_share=self.labelled_share)


@dataclasses.dataclass
class WSRLConfig(OffPolicyConfig):
    """Warm start: the critic alone learns while the pre-trained policy collects the first experience.

    Beside the settings of learning from replay:

    Attributes:
      warmup_steps: env steps during which the policy stands still.
    """

    warmup_steps: int = 5000

    def check(self, section: str = "wsrl") -> None:
        """Raises InputError for settings that cannot work."""
        super().check(section)
        if self.warmup_steps < 0:
            raise InputError(f"--config.agents.{section}.warmup_steps={self.warmup_steps} must be >= 0")


@dataclasses.dataclass
class AgentsConfig:
    """All agents' settings; ``ft`` is A2C that starts from the pre-trained policy."""

    ialp: IALPConfig = dataclasses.field(default_factory=IALPConfig)
    dqn: DQNConfig = dataclasses.field(default_factory=DQNConfig)
    pg: PGConfig = dataclasses.field(default_factory=PGConfig)
    a2c: A2CConfig = dataclasses.field(default_factory=A2CConfig)
    a2c_warm: A2CConfig = dataclasses.field(default_factory=lambda: A2CConfig(learning_rate=1e-3))
    ft: A2CConfig = dataclasses.field(default_factory=lambda: A2CConfig(learning_rate=1e-3))
    mixture: MixtureConfig = dataclasses.field(default_factory=MixtureConfig)
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    a2c_kl: KLConfig = dataclasses.field(default_factory=KLConfig)
    jsrl: JSRLConfig = dataclasses.field(default_factory=JSRLConfig)
    pex: PEXConfig = dataclasses.field(default_factory=PEXConfig)
    rlpd: RLPDConfig = dataclasses.field(default_factory=RLPDConfig)
    wsrl: WSRLConfig = dataclasses.field(default_factory=WSRLConfig)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        for field in dataclasses.fields(self):
            settings = getattr(self, field.name)
            settings.check(field.name)
            for name, value in vars(settings).items():
                if name.endswith("_cost") and value < 0:
                    raise InputError(f"--config.agents.{field.name}.{name}={value} must be at least 0")

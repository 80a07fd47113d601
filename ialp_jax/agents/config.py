"""Settings of the agents. `ialp_jax.agents.registry` maps agents to these classes.

An agent from elsewhere has its settings class in its own file. Those of the package are here, because
``--help`` lists them without JAX. Annotations are not postponed: the flags read field types.
"""

import dataclasses
import functools
from typing import Any

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

STARTS = ("pretrained", "random")
RENAMED = {"ft": "a_ialp_ft", "mixture": "a_ialp_ap", "gate": "a_ialp_gate"}  # sections of earlier versions

_positive = functools.partial(setting, above=0)
_share = functools.partial(setting, at_least=0, at_most=1)
_at_least_0 = functools.partial(setting, at_least=0)


def renamed_hint(path: str) -> str:
    """``; it is now agents.<id>...`` for a path of an earlier version, else empty."""
    parts = path.split(".")
    if len(parts) < 2 or parts[0] != "agents" or parts[1] not in RENAMED:
        return ""
    return f"; it is now {'.'.join(('agents', RENAMED[parts[1]], *parts[2:]))}"


@dataclasses.dataclass
class LearnerConfig:
    """An agent that learns online.

    Attributes:
      num_users, rollout_length: number of parallel users, and steps of each user between two updates.
      learning_rate: of Adam.
      discount: gamma.
    """

    num_users: int = _positive(20)
    rollout_length: int = _positive(5)
    learning_rate: float = _positive(1e-3)
    discount: float = _share(0.9)


@dataclasses.dataclass
class OnPolicyConfig(LearnerConfig):
    """An agent that learns from its newest rollouts, with a critic as baseline.

    Attributes:
      entropy_cost: weight of the entropy bonus.
      value_cost: weight of the critic's loss.
      max_gradient_norm: gradients are clipped to it.
    """

    learning_rate: float = _positive(3e-3)
    entropy_cost: float = _at_least_0(1e-3)
    value_cost: float = _at_least_0(0.5)
    max_gradient_norm: float = _positive(1.0)


@dataclasses.dataclass
class PGConfig(OnPolicyConfig):
    """REINFORCE with a learned baseline, on complete sessions."""

    num_users: int = _positive(10)
    rollout_length: int = _positive(20)


@dataclasses.dataclass
class A2CConfig(OnPolicyConfig):
    """Advantage actor-critic with generalised advantages.

    Attributes:
      trace: lambda of the generalised advantages; 0 is one-step, 1 Monte Carlo within the rollout.
    """

    trace: float = _share(0.9)


@dataclasses.dataclass
class WarmA2CConfig(A2CConfig):
    """A2C that starts from a pre-trained policy.

    Attributes:
      critic_start: start of the critic's head, ``random`` or ``pretrained``. A label's reward differs from a
        user's reward. If the critic expects too much reward, every action looks bad.
    """

    learning_rate: float = _positive(1e-3)
    critic_start: str = setting("random", choices=STARTS)


@dataclasses.dataclass
class MixtureConfig(WarmA2CConfig):
    """A-iALP_ap: a frozen policy mixed with one that learns online, whose share grows by a clock.

    Attributes:
      start: start of pi_beta, ``pretrained`` or ``random``.
      critic_start: start of the critic's head: ``random``, or ``pretrained`` if ``start`` is too.
      gradient: ``importance`` (pi_beta's log-probability, weighted by pi_beta / mixture) or ``mixture``
        (the mixture's log-probability).
      max_ratio: upper limit of the importance weights.
      schedule: how alpha, the share of the learning policy, grows: linear, cosine or constant.
      alpha_start: at the first step (and always, if the schedule is constant).
      alpha_end: reached after ``alpha_steps``.
      alpha_steps: env steps; 0 means all of the adaptation.
    """

    critic_start: str = setting("random", choices=STARTS, acts_if=("start", "pretrained"))
    gradient: str = setting("importance", choices=("importance", "mixture"))
    max_ratio: float = _positive(1.0, acts_if=("gradient", "importance"))
    schedule: str = setting("linear", choices=("linear", "cosine", "constant"))
    alpha_start: float = _share(0.0)
    alpha_end: float = _share(1.0, acts_if=("schedule", "linear", "cosine"))
    alpha_steps: int = _at_least_0(0, acts_if=("schedule", "linear", "cosine"))
    start: str = setting("pretrained", choices=STARTS)


@dataclasses.dataclass
class GateConfig(WarmA2CConfig):
    """A-iALP_gate: the users' answers and the pre-trained policy, weighted state by state.

    Attributes:
      evidence: weight of the users' answers so far at the first step; it is learned.
      slow_rate: the pre-trained policy's learning rate as a share of ``learning_rate``; 0 freezes it.
    """

    learning_rate: float = _positive(3e-3)
    evidence: float = _positive(3.0)
    slow_rate: float = _share(0.1)


@dataclasses.dataclass
class KLConfig(WarmA2CConfig):
    """A2C held near the frozen policy by a divergence.

    Attributes:
      kl_cost: weight of the divergence from the frozen policy at the first step.
      kl_cost_end: reached linearly after ``kl_steps``.
      kl_steps: env steps; 0 means all of the adaptation.
      kl_direction: ``reverse``, KL(pi || frozen), or ``forward``, KL(frozen || pi).
    """

    kl_cost: float = _at_least_0(0.1)
    kl_cost_end: float = _at_least_0(0.0)
    kl_steps: int = _at_least_0(0)
    kl_direction: str = setting("reverse", choices=("reverse", "forward"))


@dataclasses.dataclass
class JSRLConfig(WarmA2CConfig):
    """Jump-start: the frozen policy acts first in every session, the learner after it.

    Attributes:
      start: start of the learner, ``pretrained`` or ``random``.
      critic_start: start of the critic's head: ``random``, or ``pretrained`` if ``start`` is too.
      guide_start: share of the horizon in which the frozen policy acts, at the first env step.
      guide_end: reached linearly after ``guide_steps``.
      guide_steps: env steps; 0 means all of the adaptation.
    """

    critic_start: str = setting("random", choices=STARTS, acts_if=("start", "pretrained"))
    guide_start: float = _share(0.5)
    guide_end: float = _share(0.0)
    guide_steps: int = _at_least_0(0)
    start: str = setting("pretrained", choices=STARTS)


@dataclasses.dataclass
class ReplayConfig(LearnerConfig):
    """An agent that learns from replay.

    Attributes:
      batch_size: replayed transitions per gradient step.
      gradient_steps: per update.
      capacity: transitions in the replay buffer.
      target_rate: share of the online network that enters the target network per gradient step.
    """

    batch_size: int = _positive(256)
    gradient_steps: int = _positive(2)
    capacity: int = _positive(20_000)
    target_rate: float = _share(0.02)

    def check(self, section: str) -> None:
        """Raises InputError if the replay buffer cannot hold one rollout."""
        rollout = self.num_users * self.rollout_length
        if self.capacity < rollout:
            raise InputError(
                f"--config.{section}.capacity={self.capacity} must hold num_users * rollout_length, {rollout}"
            )


@dataclasses.dataclass
class DQNConfig(ReplayConfig):
    """Double DQN with a target network and uniform replay.

    Attributes:
      epsilon_start, epsilon_end: share of random actions, falling linearly ...
      epsilon_steps: ... over so many env steps.
    """

    epsilon_start: float = _share(1.0)
    epsilon_end: float = _share(0.02)
    epsilon_steps: int = _positive(20_000)


@dataclasses.dataclass
class OffPolicyConfig(ReplayConfig):
    """An actor-critic that learns from replay.

    Attributes:
      critic_start: start of the critic's heads, ``pretrained`` or ``random``.
      critic_cost: weight of the critic's loss.
      entropy_cost: weight of the entropy bonus.
      max_gradient_norm: gradients are clipped to it.
    """

    critic_start: str = setting("pretrained", choices=STARTS)
    critic_cost: float = _at_least_0(0.5)
    entropy_cost: float = _at_least_0(1e-3)
    max_gradient_norm: float = _positive(1.0)


@dataclasses.dataclass
class PEXConfig(OffPolicyConfig):
    """Policy expansion: the frozen and the learning policy each propose an action, and Q chooses one.

    Attributes:
      start: start of the learning policy's head, ``pretrained`` or ``random``.
      temperature: of the softmax over the two Q values.
      weight_temperature: of the learner's weights exp(advantage / temperature).
      max_weight: upper limit of the weights.
    """

    start: str = setting("pretrained", choices=STARTS)
    temperature: float = _positive(0.1)
    weight_temperature: float = _positive(0.1)
    max_weight: float = _positive(100.0)


@dataclasses.dataclass
class RLPDConfig(OffPolicyConfig):
    """Labelled transitions replayed beside online ones.

    Attributes:
      labelled_share: share of each batch that is drawn from the labelled transitions.
    """

    labelled_share: float = _share(0.5, shapes=True)


@dataclasses.dataclass
class WSRLConfig(OffPolicyConfig):
    """Warm start: only the critic learns while the pre-trained policy collects the first experience.

    Attributes:
      warmup_steps: env steps during which the policy does not change.
    """

    warmup_steps: int = _at_least_0(5000)


@dataclasses.dataclass
class IALPConfig:
    """The loss of the offline pre-training.

    Attributes:
      discount: gamma of the Q-learning target.
      actor_weight: weight of log pi(a | s): ``q`` (Q(s, a)), ``advantage`` (Q(s, a) - V(s)) or ``reward``
        (the label itself).
      alternatives: the set that pi(a | s) chooses from: the prompt's ``candidates``, or the ``catalogue``.
      backup: the critic's estimate of the next state: ``policy`` (its value under the present policy) or
        ``max`` (double Q-learning; for items that no label ever chose, the maximum overestimates without
        bound).
      critic_cost: weight of the critic's loss.
      entropy_cost: weight of the entropy bonus.
    """

    discount: float = _share(0.9)
    actor_weight: str = setting("reward", choices=("q", "advantage", "reward"))
    alternatives: str = setting("candidates", choices=("candidates", "catalogue"))
    backup: str = setting("policy", choices=("policy", "max"))
    critic_cost: float = _at_least_0(0.5)
    entropy_cost: float = _at_least_0(1e-3)


@dataclasses.dataclass
class AgentsConfig:
    """Settings of the pre-training loss; `registry.agents_config` adds a section for each agent.

    Attributes:
      ialp: the loss of the pre-training on labels and logs.
    """

    ialp: IALPConfig = dataclasses.field(default_factory=IALPConfig)

    def __getattr__(self, name: str) -> Any:
        """If a config file uses a section of an earlier version, the error names the new section."""
        raise AttributeError(f"agents.{name}: no such section{renamed_hint(f'agents.{name}')}")

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        for field in dataclasses.fields(self):
            config, section = getattr(self, field.name), f"agents.{field.name}"
            settings.check(config, section)
            if hasattr(config, "check"):
                config.check(section)

"""Settings of the agents. `ialp_jax.agents.registry` maps agents to these classes.

The settings class of your own agent is in the agent's file. The classes of this package are here, because
``--help`` lists their fields without JAX. Annotations are not postponed, because the flags read field types.
"""

import dataclasses
import functools
from typing import Any

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

STARTS = ("pretrained", "random")
START_FROM = ("ialp", "ialp_soft", "a2c_warm")  # pre-trainings of an actor-critic
GROWING = ("linear", "cosine", "evidence")  # schedules of alpha that are not constant
RENAMED = {"ft": "a_ialp_ft", "mixture": "a_ialp_ap", "gate": "a_ialp_gate"}  # sections of earlier versions

_positive = functools.partial(setting, above=0)
_share = functools.partial(setting, at_least=0, at_most=1)
_at_least_0 = functools.partial(setting, at_least=0)


def renamed_hint(path: str) -> str:
    """The hint ``; it is now agents.<id>...`` if the path is from an earlier version, else empty text."""
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
      max_gradient_norm: maximum norm to which gradients are clipped.
      normalise_advantages: whether the advantages of each update are shifted and scaled to mean 0 and
        standard deviation 1.
    """

    learning_rate: float = _positive(3e-3)
    entropy_cost: float = _at_least_0(1e-3)
    value_cost: float = _at_least_0(0.5)
    max_gradient_norm: float = _positive(1.0)
    normalise_advantages: bool = False


@dataclasses.dataclass
class PGConfig(OnPolicyConfig):
    """REINFORCE with a learned baseline, on complete sessions."""

    num_users: int = _positive(10)
    rollout_length: int = _positive(20)


@dataclasses.dataclass
class A2CConfig(OnPolicyConfig):
    """Advantage actor-critic with generalised advantages.

    Attributes:
      trace: lambda of the generalised advantages; 0 gives one-step advantages, 1 gives Monte Carlo returns
        within the rollout.
    """

    trace: float = _share(0.9)


@dataclasses.dataclass
class WarmA2CConfig(A2CConfig):
    """A2C that starts from a pre-trained policy.

    Attributes:
      start_from: the pre-training whose policy is the start: ``ialp``, ``ialp_soft`` or ``a2c_warm``.
      critic_start: how the critic's heads start, ``random`` or ``pretrained``. A pre-trained critic predicts
        rewards of labels. If these are higher than the rewards of users, every action looks bad at first.
      temperature_factor: multiplies the temperature at which the learner starts. Above 1, it explores more
        than its pre-trained policy, but also starts with a lower return.
    """

    start_from: str = setting("ialp", choices=START_FROM)
    learning_rate: float = _positive(1e-3)
    critic_start: str = setting("random", choices=STARTS)
    temperature_factor: float = _positive(1.0)


def warm_on_logs() -> WarmA2CConfig:
    """The default settings of the agent a2c_warm, which starts from a policy pre-trained on logs."""
    return WarmA2CConfig(start_from="a2c_warm")


@dataclasses.dataclass
class MixtureConfig(WarmA2CConfig):
    """A-iALP_ap: mixes a frozen policy with a learning policy, whose share grows with the env steps.

    Attributes:
      start: how the learning policy pi_beta starts, ``pretrained`` or ``random``.
      critic_start: how the critic's heads start, ``random`` or ``pretrained``; always random if ``start`` is
        random.
      temperature_factor: multiplies the temperature at which pi_beta starts, not that of pi_theta.
      gradient: log-probability in the policy gradient: ``importance`` (of pi_beta, weighted by
        pi_beta / mixture) or ``mixture`` (of the mixture).
      max_ratio: upper limit of the importance weights.
      schedule: how alpha, the share of the learning policy, grows: ``linear``, ``cosine``, ``constant`` or
        ``evidence``. With ``evidence``, alpha after n env steps is n / (n + alpha_steps).
      alpha_start: alpha at the first env step; if the schedule is constant, alpha at all steps.
      alpha_end: alpha after ``alpha_steps``; with ``evidence``, the limit after many more steps.
      alpha_steps: length of the schedule in env steps; 0 means the whole adaptation. With ``evidence``, the
        number of env steps that are worth as much as the pre-training.
    """

    critic_start: str = setting("random", choices=STARTS, acts_if=("start", "pretrained"))
    temperature_factor: float = _positive(1.0, acts_if=("start", "pretrained"))
    gradient: str = setting("importance", choices=("importance", "mixture"))
    max_ratio: float = _positive(1.0, acts_if=("gradient", "importance"))
    schedule: str = setting("linear", choices=("linear", "cosine", "constant", "evidence"))
    alpha_start: float = _share(0.0)
    alpha_end: float = _share(1.0, acts_if=("schedule", *GROWING))
    alpha_steps: int = _at_least_0(0, acts_if=("schedule", *GROWING))
    start: str = setting("pretrained", choices=STARTS)


@dataclasses.dataclass
class GateConfig(WarmA2CConfig):
    """A-iALP_gate: combines the pre-trained policy and users' answers with learned weights for each state.

    Attributes:
      evidence: initial weight of the users' answers; learning changes this weight.
      slow_rate: learning rate of the pre-trained policy, as a share of ``learning_rate``; 0 freezes it.
    """

    learning_rate: float = _positive(3e-3)
    evidence: float = _positive(3.0)
    slow_rate: float = _share(0.1)


@dataclasses.dataclass
class KLConfig(WarmA2CConfig):
    """A2C with a penalty on the divergence from the frozen policy.

    Attributes:
      kl_cost: weight of the divergence at the first env step.
      kl_cost_end: weight of the divergence after ``kl_steps``; the change is linear.
      kl_steps: length of the schedule in env steps; 0 means the whole adaptation.
      kl_direction: ``reverse``, KL(pi || frozen), or ``forward``, KL(frozen || pi).
    """

    kl_cost: float = _at_least_0(0.1)
    kl_cost_end: float = _at_least_0(0.0)
    kl_steps: int = _at_least_0(0)
    kl_direction: str = setting("reverse", choices=("reverse", "forward"))


@dataclasses.dataclass
class JSRLConfig(WarmA2CConfig):
    """Jump-start: in every session, the frozen policy acts first and then the learner acts.

    Attributes:
      start: how the learner starts, ``pretrained`` or ``random``.
      critic_start: how the critic's heads start, ``random`` or ``pretrained``; always random if ``start`` is
        random.
      temperature_factor: multiplies the temperature at which the learner starts, not that of the guide.
      guide_start: initial share of the horizon in which the frozen policy acts.
      guide_end: this share after ``guide_steps``; the change is linear.
      guide_steps: length of the schedule in env steps; 0 means the whole adaptation.
    """

    critic_start: str = setting("random", choices=STARTS, acts_if=("start", "pretrained"))
    temperature_factor: float = _positive(1.0, acts_if=("start", "pretrained"))
    guide_start: float = _share(0.5)
    guide_end: float = _share(0.0)
    guide_steps: int = _at_least_0(0)
    start: str = setting("pretrained", choices=STARTS)


@dataclasses.dataclass
class ReplayConfig(LearnerConfig):
    """An agent that learns from replay.

    Attributes:
      batch_size: replayed transitions per gradient step.
      gradient_steps: gradient steps per update.
      capacity: maximum number of transitions in the replay buffer.
      target_rate: rate at which the target network moves towards the online network in each gradient step.
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
      epsilon_start, epsilon_end: first and last share of random actions; the share changes linearly.
      epsilon_steps: number of env steps until the share of random actions is epsilon_end.
    """

    epsilon_start: float = _share(1.0)
    epsilon_end: float = _share(0.02)
    epsilon_steps: int = _positive(20_000)


@dataclasses.dataclass
class OffPolicyConfig(ReplayConfig):
    """An actor-critic that learns from replay.

    Attributes:
      start_from: the pre-training whose policy is the start: ``ialp``, ``ialp_soft`` or ``a2c_warm``.
      critic_start: how the critic's heads start, ``pretrained`` or ``random``.
      temperature_factor: multiplies the temperature at which the learner starts.
      critic_cost: weight of the critic's loss.
      entropy_cost: weight of the entropy bonus.
      max_gradient_norm: maximum norm to which gradients are clipped.
    """

    start_from: str = setting("ialp", choices=START_FROM)
    critic_start: str = setting("pretrained", choices=STARTS)
    temperature_factor: float = _positive(1.0)
    critic_cost: float = _at_least_0(0.5)
    entropy_cost: float = _at_least_0(1e-3)
    max_gradient_norm: float = _positive(1.0)


@dataclasses.dataclass
class PEXConfig(OffPolicyConfig):
    """Policy expansion: the frozen and the learning policy each propose an action, and their Q values decide.

    Attributes:
      start: how the learning policy's head starts, ``pretrained`` or ``random``.
      temperature_factor: multiplies the temperature at which the learning policy starts.
      temperature: temperature of the softmax over the two Q values.
      weight_temperature: temperature in the weights exp(advantage / temperature) of the learner's loss.
      max_weight: upper limit of the weights.
    """

    start: str = setting("pretrained", choices=STARTS)
    temperature_factor: float = _positive(1.0, acts_if=("start", "pretrained"))
    temperature: float = _positive(0.1)
    weight_temperature: float = _positive(0.1)
    max_weight: float = _positive(100.0)


@dataclasses.dataclass
class RLPDConfig(OffPolicyConfig):
    """RLPD: each batch contains labelled transitions and replayed online transitions.

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
class OfflineConfig:
    """The critic and the entropy in the loss of an offline pre-training.

    Attributes:
      discount: gamma of the Q-learning target.
      backup: value of the next state in the critic's target: ``policy`` (V under the policy) or ``max``
        (double Q-learning). ``max`` overestimates without bound, because no label ever corrects the Q values
        of items that are never chosen.
      critic_cost: weight of the critic's loss.
      entropy_cost: weight of the entropy bonus.
    """

    discount: float = _share(0.9)
    backup: str = setting("policy", choices=("policy", "max"))
    critic_cost: float = _at_least_0(0.5)
    entropy_cost: float = _at_least_0(1e-3)


@dataclasses.dataclass
class IALPConfig(OfflineConfig):
    """The loss of iALP, which learns from one choice per prompt.

    Attributes:
      actor_weight: weight of log pi(a | s): ``q`` (Q(s, a)), ``advantage`` (Q(s, a) - V(s)) or ``reward``
        (the label's reward).
      alternatives: items among which pi(a | s) chooses: the prompt's ``candidates``, or the ``catalogue``.
    """

    actor_weight: str = setting("reward", choices=("q", "advantage", "reward"))
    alternatives: str = setting("candidates", choices=("candidates", "catalogue"))


@dataclasses.dataclass
class SoftIALPConfig(OfflineConfig):
    """The loss of ialp_soft, which learns from the scores of all candidates.

    Attributes:
      label_temperature: the actor learns softmax(scores / label_temperature) over the candidates. A low
        temperature keeps only the best candidate; a high one makes all candidates equal.
      prior_weight: how much of an item's mean score, over all labels, is subtracted from each of its scores.
        1 removes the label source's preference for items that it likes after every history.
    """

    label_temperature: float = _positive(1.0)
    prior_weight: float = _share(0.0)


@dataclasses.dataclass
class AgentsConfig:
    """Settings of the pre-training losses; `registry.agents_config` adds a section for each agent.

    Attributes:
      ialp: settings of the loss for pre-training on chosen candidates (ialp) and on logs (a2c_warm).
      ialp_soft: settings of the loss for pre-training on the scores of all candidates.
    """

    ialp: IALPConfig = dataclasses.field(default_factory=IALPConfig)
    ialp_soft: SoftIALPConfig = dataclasses.field(default_factory=SoftIALPConfig)

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

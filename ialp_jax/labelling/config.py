"""Settings of labelling and of the audit of labels.

This module does not postpone the evaluation of annotations, because the flags read the types of the fields.
"""

import dataclasses
import math

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

LLM, LOG_MODEL = "llm", "log_model"
BOTH = f"{LLM}+{LOG_MODEL}"
SOURCES = (LLM, LOG_MODEL, BOTH, "popularity", "random", "logged", "truth", "fold_in")
NONE, LOGISTIC = "none", "logistic"  # values of ``calibration``


@dataclasses.dataclass
class LabellingConfig:
    """Settings of labelling. The prompts come from imagined sessions of offline users, round by round.

    Attributes:
      rounds: number of labelling rounds; the actor learns between rounds, so that its candidates improve.
      sessions: number of imagined sessions in parallel; each session makes one prompt per step.
      steps: number of steps of each session in a round; a round makes sessions * steps prompts.
      candidates: K, number of candidates in one prompt.
      source: label source. ``llm``: the model. ``log_model``: the supervised SASRec, trained on the logs of
        offline users. ``llm+log_model``: both, joined by the calibration. ``popularity``: likes of offline
        users. ``random``: chance. ``logged``: the user's next logged items. ``truth``: the world's user
        model. ``fold_in``: the world's user model, with user factors that are estimated from the history.
      none_share: share of the prompts that log_model, popularity, random and fold_in answer with "none"; only
        without calibration.
      calibration: how scores become labels. ``none``: the best score wins, and each source has its own rule
        of "none". ``logistic``: scores become probabilities of a like, which means that the candidate appears
        later in the user's log. The most probable candidate wins, and the answer is "none" with the
        probability that the user does not like this candidate. In each round, a regression on held-out
        offline users (llm.embedded.holdout) computes the probabilities.
      label_set: number of the set of labels. Sets differ in all random draws behind the labels: training of
        the embedded model, held-out users, imagined sessions and proposals.
      calibration_questions: number of further prompts in each round, about held-out users, for ``logistic``.
      horizon: largest number of steps of an imagined session; then a new session starts from a logged window.
        Long sessions drift: most items of their histories are choices of the label source, not of people.
        0, or more than ``simulator.horizon``: ``simulator.horizon``.
      staggered: whether the first sessions have different horizons, 1 to ``horizon`` equally often. Then
        about sessions / horizon sessions start in each step. If false, all sessions start together.
      popular_share: share of the K candidates that popularity proposes: items are drawn in proportion to the
        likes of offline users. The number is rounded, halves up, and at least 1 if the share is above 0.
      uniform_share: share of the K candidates that are drawn uniformly, rounded in the same way. The actor
        proposes all other candidates.
    """

    rounds: int = setting(6, above=0)
    sessions: int = setting(200, above=0)
    steps: int = setting(10, above=0)
    candidates: int = setting(20, at_least=2)
    source: str = setting(LLM, choices=SOURCES)
    none_share: float = setting(0.2, at_least=0, below=1)
    horizon: int = setting(10, at_least=0)
    staggered: bool = True
    popular_share: float = setting(0.0, at_least=0, at_most=1)
    uniform_share: float = setting(0.0, at_least=0, at_most=1)
    calibration: str = setting(NONE, choices=(NONE, LOGISTIC))
    label_set: int = setting(0, at_least=0)
    calibration_questions: int = setting(400, at_least=2, acts_if=("calibration", LOGISTIC))

    def sources(self) -> list[str]:
        """The label sources that ``source`` names."""
        return self.source.split("+")

    def num_prompts(self) -> int:
        """Number of prompts in all rounds."""
        return self.rounds * self.steps * self.sessions

    def session_horizon(self, longest: int) -> int:
        """The largest number of steps of an imagined session, if that of the simulator is ``longest``."""
        return min(self.horizon or longest, longest)

    def proposed_by(self) -> tuple[int, int, int]:
        """How many of the K candidates the actor, popularity and uniform draws propose."""
        popular = _part(self.popular_share, self.candidates)
        uniform = min(_part(self.uniform_share, self.candidates), self.candidates - popular)
        return self.candidates - popular - uniform, popular, uniform

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "labelling")
        if self.popular_share + self.uniform_share > 1 + 1e-9:
            raise InputError(
                f"--config.labelling.popular_share={self.popular_share} and .uniform_share="
                f"{self.uniform_share} must not exceed 1 together"
            )
        if len(self.sources()) > 1 and self.calibration == NONE:
            raise InputError(
                f"--config.labelling.source={self.source} needs --config.labelling.calibration={LOGISTIC}, "
                "which joins the scores of both"
            )


def _part(share: float, count: int) -> int:
    """``share * count``, rounded, halves up; at least 1 if the share is above 0."""
    return max(math.floor(share * count + 0.5), int(share > 0))


@dataclasses.dataclass
class AuditConfig:
    """Settings of the audit. Its questions are about interactions of tuning users, never of evaluation users.

    Attributes:
      enabled: whether the LLM is audited.
      users: maximum number of users, drawn at random; 0: all tuning users.
      negatives: number of candidates with which the user has no interaction; at most 24 if candidates have
        letters. Not used if the data set has ratings of randomly drawn items.
    """

    enabled: bool = True
    users: int = 0
    negatives: int = setting(100, at_least=1)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.users < 0 or self.users == 1:
            raise InputError(f"--config.audit.users={self.users} must be 0 (all) or at least 2")
        settings.check(self, "audit")

"""Settings of labelling and of the audit of labels.

This module does not postpone the evaluation of annotations, because the flags read the types of the fields.
"""

import dataclasses

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
      calibration_questions: number of further prompts in each round, about held-out users, for ``logistic``.
    """

    rounds: int = setting(6, above=0)
    sessions: int = setting(200, above=0)
    steps: int = setting(10, above=0)
    candidates: int = setting(20, at_least=2)
    source: str = setting(LLM, choices=SOURCES)
    none_share: float = setting(0.2, at_least=0, below=1)
    calibration: str = setting(NONE, choices=(NONE, LOGISTIC))
    calibration_questions: int = setting(400, at_least=2, acts_if=("calibration", LOGISTIC))

    def sources(self) -> list[str]:
        """The label sources that ``source`` names."""
        return self.source.split("+")

    def num_prompts(self) -> int:
        """Number of prompts in all rounds."""
        return self.rounds * self.steps * self.sessions

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "labelling")
        if len(self.sources()) > 1 and self.calibration == NONE:
            raise InputError(
                f"--config.labelling.source={self.source} needs --config.labelling.calibration={LOGISTIC}, "
                "which joins the scores of both"
            )


@dataclasses.dataclass
class AuditConfig:
    """Settings of the audit. Its questions are about interactions of users who are not offline users.

    Attributes:
      enabled: whether the LLM is audited.
      users: maximum number of users, drawn at random; 0: all users except the offline users.
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

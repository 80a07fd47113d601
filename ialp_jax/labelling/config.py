"""Settings of labelling and of the audit of labels.

Annotations are not postponed: the flags read field types.
"""

import dataclasses

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.settings import setting

LLM = "llm"
SOURCES = (LLM, "popularity", "random", "logged", "truth", "fold_in")


@dataclasses.dataclass
class LabellingConfig:
    """Imagined sessions of offline users, labelled round by round.

    Attributes:
      rounds: labelling rounds; the actor learns between them, so that candidates improve.
      sessions: imagined sessions in parallel; each asks one prompt per step.
      steps: steps of each session per round; a round asks sessions * steps prompts.
      candidates: K, items in one prompt.
      source: who labels: the ``llm``, or in its place offline ``popularity``, ``random`` choice, the user's
        ``logged`` next items, the ``truth``, the user model of the world itself, or ``fold_in``, that model's
        estimate for a user with such a history.
      none_share: share of prompts that the sources popularity, random and fold_in answer with none.
    """

    rounds: int = setting(6, above=0)
    sessions: int = setting(200, above=0)
    steps: int = setting(10, above=0)
    candidates: int = setting(20, at_least=2)
    source: str = setting(LLM, choices=SOURCES)
    none_share: float = setting(0.2, at_least=0, below=1)

    def num_prompts(self) -> int:
        """Prompts of all rounds."""
        return self.rounds * self.steps * self.sessions

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        settings.check(self, "labelling")


@dataclasses.dataclass
class AuditConfig:
    """Questions about held-out interactions of users that are not offline.

    Attributes:
      enabled: whether the LLM is audited at all.
      users: at most so many users, drawn at random; 0: all that are not offline.
      negatives: items that the user did not interact with, beside the taken one; at most 24 if candidates
        bear letters. A data set with ratings of randomly drawn items brings its own.
    """

    enabled: bool = True
    users: int = 0
    negatives: int = setting(100, at_least=1)

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.users < 0 or self.users == 1:
            raise InputError(f"--config.audit.users={self.users} must be 0 (all) or at least 2")
        settings.check(self, "audit")

"""Settings of labelling and of the audit of labels.

The annotations are not postponed, because the flags read the field types.
"""

import dataclasses

from ialp_jax.errors import InputError

LLM = "llm"
SOURCES = (LLM, "popularity", "random", "logged", "truth", "fold_in")


@dataclasses.dataclass
class LabellingConfig:
    """Imagined sessions of offline users, labelled round by round.

    Attributes:
      rounds: labelling rounds; the actor learns between them, so that candidates improve.
      sessions: imagined sessions in parallel; each makes one prompt per step.
      steps: steps of each session per round; a round makes sessions * steps prompts.
      candidates: K, items in one prompt.
      source: who labels. ``llm``: the model. ``popularity``: likes of offline users. ``random``: chance.
        ``logged``: the user's next logged items. ``truth``: the world's user model. ``fold_in``: the user
        model's estimate for a user with the given history.
      none_share: share of prompts that popularity, random and fold_in answer with none.
    """

    rounds: int = 6
    sessions: int = 200
    steps: int = 10
    candidates: int = 20
    source: str = LLM
    none_share: float = 0.2

    def num_prompts(self) -> int:
        """Prompts of all rounds."""
        return self.rounds * self.steps * self.sessions

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        for name in ("rounds", "sessions", "steps"):
            if getattr(self, name) <= 0:
                raise InputError(f"--config.labelling.{name}={getattr(self, name)} must be positive")
        if self.candidates < 2:
            raise InputError(f"--config.labelling.candidates={self.candidates} must be at least 2")
        if self.source not in SOURCES:
            raise InputError(f"--config.labelling.source={self.source!r} must be one of {', '.join(SOURCES)}")
        if not 0 <= self.none_share < 1:
            raise InputError(f"--config.labelling.none_share={self.none_share} must be in [0, 1)")


@dataclasses.dataclass
class AuditConfig:
    """Questions about held-out interactions of users that are not offline.

    Attributes:
      enabled: whether the LLM is audited.
      users: largest number of users, drawn at random; 0: all users who are not offline.
      negatives: items without an interaction of the user, besides the taken item; at most 24 if candidates
        bear letters. Not used if the data set has ratings of randomly drawn items.
    """

    enabled: bool = True
    users: int = 0
    negatives: int = 100

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.users < 0 or self.users == 1:
            raise InputError(f"--config.audit.users={self.users} must be 0 (all) or at least 2")
        if self.negatives < 1:
            raise InputError(f"--config.audit.negatives={self.negatives} must be at least 1")

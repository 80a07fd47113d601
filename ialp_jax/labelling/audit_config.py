"""Settings of the audit: do the labels prefer what users really took?"""

import dataclasses

from ialp_jax.errors import InputError


@dataclasses.dataclass
class AuditConfig:
    """Questions about held-out interactions of users that are not offline.

    Attributes:
      enabled: whether the LLM is audited at all.
      users: at most so many users, drawn at random; 0: all that are not offline.
      negatives: items that the user never met, beside the one that was taken; at most 24 where candidates
        bear letters. A data set with ratings of randomly drawn items brings its own.
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

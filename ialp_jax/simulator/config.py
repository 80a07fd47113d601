"""Settings of a world's simulator."""

import dataclasses

from ialp_jax.errors import InputError
from ialp_jax.simulator.user_model_config import FAMILIES, UserModelConfig


@dataclasses.dataclass
class SimulatorConfig:
    """Session dynamics and the user model behind them.

    Attributes:
      history_length: L, liked items an agent sees.
      start_length: real likes a session starts with, at most L (and at most half of the user's likes).
      horizon: H, steps after which a session is truncated.
      patience: what a user starts with and can recover to, in dislikes.
      dislike_cost: patience lost with each item that is not liked.
      recovery: patience regained with each like.
      user_model: how like probabilities are fitted.
      test_model: whose answers judge the agents: empty, those of user_model; halves, those of a second model,
        the two fitted to disjoint halves of every user's interactions; or the family of a second model
        (implicit_mf, explicit_mf, graph_filter, truth).
    """

    history_length: int = 10
    start_length: int = 10
    horizon: int = 50
    patience: float = 5.0
    dislike_cost: float = 1.0
    recovery: float = 1.0
    user_model: UserModelConfig = dataclasses.field(default_factory=UserModelConfig)
    test_model: str = ""

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.history_length < 1 or self.horizon < 1:
            raise InputError("--config.simulator.history_length and .horizon must be at least 1")
        if not 1 <= self.start_length <= self.history_length:
            raise InputError(
                f"--config.simulator.start_length={self.start_length} must be in 1..history_length="
                f"{self.history_length}"
            )
        if self.patience <= 0 or self.dislike_cost < 0 or self.recovery < 0:
            raise InputError(
                "--config.simulator.patience must be positive, dislike_cost and recovery at least 0"
            )
        self.user_model.check()
        self._check_test_model()

    def _check_test_model(self) -> None:
        """Raises InputError for a second model that cannot be."""
        own, other = self.user_model.family, self.test_model
        flag = f"--config.simulator.test_model={other}"
        if other and other != "halves" and other not in FAMILIES:
            raise InputError(f"{flag}: unknown; known: halves, {', '.join(FAMILIES)}")
        if other == own:
            raise InputError(f"{flag}: the agents train with that family; name another, or halves")
        if other == "halves" and own == "truth":
            raise InputError(f"{flag}: the truth is not fitted; name a family instead of halves")
        if other == "explicit_mf":
            dataclasses.replace(self.user_model, family=other).check()

"""Settings of a world's simulator."""

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from ialp_jax.errors import InputError
from ialp_jax.simulator.dynamics_config import DynamicsConfig
from ialp_jax.simulator.presets import PRESETS, WORLDS
from ialp_jax.users.config import FAMILIES, UserModelConfig


@dataclasses.dataclass
class SimulatorConfig:
    """Session dynamics and the user model behind them.

    Attributes:
      preset: how hard the users are: easy, paper or hard. It gives the values of patience, dislike_cost,
        recovery and all of dynamics that are not set; a value that is set wins over it.
      history_length: L, liked items an agent sees.
      start_length: real likes a session starts with, at most L (and at most half of the user's likes).
      horizon: H, steps after which a session is truncated.
      patience: what a user starts with and can recover to, in dislikes; paper: 5.
      dislike_cost: patience lost with each item that is not liked; paper: 1.
      recovery: patience regained with each like; paper: 1.
      dynamics: what makes users hard; paper: all off.
      user_model: how like probabilities are fitted.
      test_model: whose answers judge the agents: empty, those of user_model; halves, those of a second model,
        the two fitted to disjoint halves of every user's interactions; or the family of a second model
        (implicit_mf, explicit_mf, graph_filter, truth).
    """

    preset: str = "paper"
    history_length: int = 10
    start_length: int = 10
    horizon: int = 50
    patience: float | None = None
    dislike_cost: float | None = None
    recovery: float | None = None
    dynamics: DynamicsConfig = dataclasses.field(default_factory=DynamicsConfig)
    user_model: UserModelConfig = dataclasses.field(default_factory=UserModelConfig)
    test_model: str = ""

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if self.preset not in PRESETS:
            raise InputError(
                f"--config.simulator.preset={self.preset}: unknown; known: {', '.join(sorted(PRESETS))}"
            )
        if self.history_length < 1 or self.horizon < 1:
            raise InputError("--config.simulator.history_length and .horizon must be at least 1")
        if not 1 <= self.start_length <= self.history_length:
            raise InputError(
                f"--config.simulator.start_length={self.start_length} must be in 1..history_length="
                f"{self.history_length}"
            )
        filled = resolved(self)
        if filled.patience <= 0 or filled.dislike_cost < 0 or filled.recovery < 0:
            raise InputError(
                "--config.simulator.patience must be positive, dislike_cost and recovery at least 0"
            )
        filled.dynamics.check()
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


def put(config: Any, path: str, value: Any) -> None:
    """Sets ``config.a.b`` for the path ``a.b``."""
    *parents, name = path.split(".")
    setattr(functools.reduce(getattr, parents, config), name, value)


def replaced(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a configuration with the ``values``, by path, in place of its own; none is checked."""
    changed = copy.deepcopy(config)
    for path, value in values.items():
        put(changed, path, value)
    return changed


def simulator_of(world: str) -> SimulatorConfig:
    """The defaults, with what ``presets.WORLDS`` says of this world."""
    return replaced(SimulatorConfig(), WORLDS.get(world, {}))


def resolved(config: SimulatorConfig) -> SimulatorConfig:
    """A copy in which every knob that was not set has its preset's value."""
    filled = copy.deepcopy(config)
    for path, value in (PRESETS["paper"] | PRESETS[config.preset]).items():
        if functools.reduce(getattr, path.split("."), filled) is None:
            put(filled, path, value)
    return filled

"""Settings of the simulator, ``--config.simulator``."""

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
    """Sessions of simulated users, and the user model that gives their answers.

    Attributes:
      preset: difficulty of the users: easy, paper or hard. It sets patience, dislike_cost,
        recovery and dynamics. Values that you set yourself take precedence.
      history_length: L, number of liked items that an agent sees.
      start_length: number of real likes with which a session starts, at most L and at most half of the
        user's likes.
      horizon: H, steps after which a session is truncated.
      patience: patience at the start of a session, which is also its maximum; paper: 5.
      dislike_cost: patience lost with each item that is not liked; paper: 1.
      recovery: patience regained with each like; paper: 1.
      dynamics: effects that make users harder; paper: all off.
      user_model: how like probabilities are fitted.
      test_model: user model of the evaluation world. Empty: the same as for training. halves: a second model;
        the two models are fitted to disjoint halves of every user's interactions. implicit_mf, explicit_mf,
        graph_filter or truth: a second model of this family.
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
        """Raises InputError if ``test_model`` cannot work with the other settings."""
        family, test_family = self.user_model.family, self.test_model
        flag = f"--config.simulator.test_model={test_family}"
        if test_family and test_family != "halves" and test_family not in FAMILIES:
            raise InputError(f"{flag}: unknown; known: halves, {', '.join(FAMILIES)}")
        if test_family == family:
            raise InputError(f"{flag}: the agents train with this family; use another, or halves")
        if test_family == "halves" and family == "truth":
            raise InputError(f"{flag}: the truth is not fitted; use a family instead of halves")
        if test_family == "explicit_mf":
            dataclasses.replace(self.user_model, family=test_family).check()


def put(config: Any, path: str, value: Any) -> None:
    """Sets the value at a dotted path: for the path ``a.b``, ``config.a.b = value``."""
    *parents, name = path.split(".")
    setattr(functools.reduce(getattr, parents, config), name, value)


def replaced(config: Any, values: Mapping[str, Any]) -> Any:
    """Returns a copy of a configuration with new ``values`` (dotted path -> value); does not check them."""
    changed = copy.deepcopy(config)
    for path, value in values.items():
        put(changed, path, value)
    return changed


def simulator_of(world: str) -> SimulatorConfig:
    """Returns the default settings, changed by the settings of this world in ``presets.WORLDS``."""
    return replaced(SimulatorConfig(), WORLDS.get(world, {}))


def resolved(config: SimulatorConfig) -> SimulatorConfig:
    """Returns a copy in which every setting that is None has the value of the preset."""
    filled = copy.deepcopy(config)
    for path, value in (PRESETS["paper"] | PRESETS[config.preset]).items():
        if functools.reduce(getattr, path.split("."), filled) is None:
            put(filled, path, value)
    return filled

"""Further runs of a world in a study, for example with another user model or another set of labels.

The id of a further run is the id of its world with endings, in this order:

- ``_not_offline``: the user model is fitted without offline users; only the methods for claim (f) run.
- ``_literal``: settings of experiments/configs/paper_literal.py; only iALP and the paper's adaptations run.
- ``_by_log_model``, ``_by_llm_and_log_model``: another label source; only ``ialp_soft`` runs.
- ``_set2``, ``_set3``, ...: another set of labels; only methods that need labels run.

The search tunes two runs of a world separately: the first run, and the first literal run if there is one.
Further literal runs use the values of the first literal run. All other runs use those of the first run,
except for the settings in which they differ from it. A run that was not tuned has default values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.config import Config
from experiments.configs.paper_literal import LITERAL
from ialp_jax.agents import registry
from ialp_jax.labelling.config import LOGISTIC

NOT_OFFLINE = "_not_offline"
NOT_OFFLINE_METHODS = ("random", "popular", "oracle", "dqn", "pg", "a2c", "ialp", "a_ialp_ap")
SOURCE_METHODS = ("ialp_soft",)
LITERAL_METHODS = ("ialp", "a_ialp_ft", "a_ialp_ap")
_ID = re.compile(
    rf"(?P<base>.+?)(?P<not_offline>{NOT_OFFLINE})?(?P<literal>_literal)?(_by_(?P<source>\w+?))?(_set(?P<number>\d+))?"
)


class Variant(NamedTuple):
    """The parts of the id of a run in a study.

    Attributes:
      base: id of the world, which is also the name of its config file.
      not_offline: whether the user model is fitted without offline users.
      source: label source; empty: that of the world's settings.
      label_set: number of the set of labels, from 0.
      literal: whether the paper is read literally.
    """

    base: str
    not_offline: bool = False
    source: str = ""
    label_set: int = 0
    literal: bool = False

    def id(self) -> str:
        """The id of the run."""
        ending = (NOT_OFFLINE if self.not_offline else "") + ("_literal" if self.literal else "")
        ending += f"_by_{self.source.replace('+', '_and_')}" if self.source else ""
        return f"{self.base}{ending}" + (f"_set{self.label_set + 1}" if self.label_set else "")

    def overrides(self) -> dict[str, Any]:
        """The settings in which the run differs from the first run of its world, path -> value."""
        values: dict[str, Any] = dict(LITERAL) if self.literal else {}
        if self.not_offline:
            values["simulator.user_model.fit_users"] = "not_offline"
        if self.source:
            values |= {"labelling.source": self.source, "labelling.calibration": LOGISTIC}
        if self.label_set:
            values["labelling.label_set"] = self.label_set
        return values

    def methods(self, names: Sequence[str], config: Config) -> list[str]:
        """The methods in ``names`` that the run has; ``config`` has the agents' settings ``start_from``."""
        chosen = list(names)
        if self.not_offline:
            chosen = [name for name in chosen if name in NOT_OFFLINE_METHODS]
        if self.literal:
            chosen = [name for name in chosen if name in LITERAL_METHODS]
        if self.source:
            chosen = [name for name in chosen if name in SOURCE_METHODS]
        if self.label_set:
            chosen = [name for name in chosen if registry.needs_labels(name, config.agents)]
        return chosen


def variant(world: str) -> Variant:
    """Reads the id of a run in a study."""
    parts = _ID.fullmatch(world)
    assert parts  # every text has a base
    source = (parts["source"] or "").replace("_and_", "+")
    number = int(parts["number"] or 1) - 1
    return Variant(parts["base"], bool(parts["not_offline"]), source, number, bool(parts["literal"]))


def base(world: str) -> str:
    """The id of the world, from the id of one of its runs."""
    return variant(world).base


def tuned_in(world: str) -> str:
    """The id of the run of the same world whose tuned values a run uses."""
    known = variant(world)
    return Variant(known.base, literal=known.literal).id()


def is_first(world: str) -> bool:
    """Whether the id is that of the first run of a world."""
    return base(world) == world

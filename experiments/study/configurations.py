"""Draws the configurations of settings that a search tries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.agents import AGENTS, space_of
from experiments.config import Config
from experiments.study.overrides import overridden, value_at
from experiments.study.settings import check_updates
from ialp_jax import keys
from ialp_jax.errors import InputError

SPACES = "experiments/agents.py"  # file of the search spaces; error messages name it
Values = dict[str, Any]


def draw(
    space: Mapping[str, Sequence[Any]], default: Config, count: int, seed: int, simpler: Values | None = None
) -> list[Values]:
    """Draws different configurations from a search space; the default comes first.

    The second one has the values of ``simpler``, and default values elsewhere. The others form a Latin
    hypercube (McKay, Beckman and Conover, Technometrics 1979): each setting takes all values of its list
    equally often, in a random order. The order depends only on the seed, the name of the setting and the
    length of its list. So methods that share settings try the same combinations of them, and a difference
    between two methods does not come from luckier draws. Combinations that are invalid for the agents are
    left out.

    Args:
      space: path -> values to try.
      default: its values form the first configuration, even if the lists do not contain them.
      count: number of configurations; fewer are returned if the space is smaller.
      seed: the same seed gives the same configurations.
      simpler: tuned values of the method that this method extends, with paths of this space; None: no second
        configuration.
    """
    start = {path: value_at(default, path) for path in space}
    points, tried = _points(space, seed), []
    chosen = [start]
    if simpler is not None and start | simpler != start and is_usable(default, start | simpler):
        chosen.append(start | simpler)
    while len(chosen) < count and len(tried) < math.prod(map(len, space.values())):
        drawn = next(points)
        if drawn in tried:
            continue
        tried.append(drawn)
        if drawn not in chosen and is_usable(default, drawn):
            chosen.append(drawn)
    return chosen[:count]


def _points(space: Mapping[str, Sequence[Any]], seed: int) -> Iterator[Values]:
    """Endless configurations of a search space, repeated ones included."""
    columns = {path: _column(path.rpartition(".")[2], values, seed) for path, values in space.items()}
    while True:
        yield {path: next(column) for path, column in columns.items()}


def _column(name: str, values: Sequence[Any], seed: int) -> Iterator[Any]:
    """Endless values of one setting: all values in a random order, then all in another order, and so on."""
    generator = keys.generator(seed, f"search {name}")
    while True:
        yield from (values[place] for place in generator.permutation(len(values)))


def beyond(choices: Sequence[Any], value: Any) -> Any:
    """The value that continues a list of numbers beyond the end where ``value`` lies; None for other values.

    The ratio is that of the last two numbers. A value outside the list lies at the nearer end. Lists with
    fewer than four numbers are choices, not scales.
    """
    if len(choices) < 4 or not all(type(choice) in (int, float) for choice in choices):
        return None
    numbers = sorted(choices)
    if value >= numbers[-1]:
        further = value * numbers[-1] / numbers[-2]
    elif value <= numbers[0] and numbers[0] > 0:
        further = value * numbers[0] / numbers[1]
    else:
        return None
    return round(further) if type(value) is int else float(f"{further:.3g}")


def is_usable(default: Config, values: Values) -> bool:
    """Whether the agents' settings are valid if these values replace the default values."""
    try:
        config = overridden(default, values, SPACES)
        config.agents.check()
        check_updates(config)
    except InputError:
        return False
    return True


def simpler_values(method: str, tuned: Mapping[str, Values]) -> Values | None:
    """The tuned values of the method that ``method`` extends, for the settings that both search spaces have.

    Args:
      method: agent id.
      tuned: agent id -> tuned values by path, in one world.

    Returns:
      Values with the paths of ``method``; None if it extends no method, or the search has not tuned that one.
    """
    simpler = AGENTS[method].extends
    if simpler not in tuned:
        return None
    renamed = {
        path.replace(f"agents.{simpler}.", f"agents.{method}.", 1): v for path, v in tuned[simpler].items()
    }
    return {path: value for path, value in renamed.items() if path in space_of(method)}

"""Name, group and colour of each agent, the same in tables, figures and sentences.

The values are in `experiments.agents`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from experiments.agents import AGENTS, OTHER

LONGEST_NAME = 40  # Largest number of characters of an agent's name that are shown.
READABLE = 4.5  # Smallest contrast of readable text (WCAG 2.1, level AA).


class Style(NamedTuple):
    """Display name, group in tables, colour of the line."""

    name: str
    group: str
    colour: str


_SPARE = ("#332288", "#aa4499", "#ddaa33", "#661100")  # of agents without a record


def style(agent: str) -> Style:
    """How an agent is displayed; an agent without a record keeps its id and gets a spare colour."""
    if record := AGENTS.get(agent):
        return Style(record.name, record.group, record.colour)
    name = agent if len(agent) <= LONGEST_NAME else f"{agent[: LONGEST_NAME - 1]}…"
    return Style(name, OTHER, _SPARE[sum(agent.encode()) % len(_SPARE)])


def ordered(agents: Iterable[str]) -> list[str]:
    """Agent ids in the order of `AGENTS`; agents without a record come last."""
    known = list(AGENTS)
    return sorted(agents, key=lambda agent: (known.index(agent) if agent in known else len(known), agent))


def luminance(colour: str) -> float:
    """Relative luminance of a colour ``#rrggbb``. Source: WCAG 2.1, section "relative luminance"."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours ``#rrggbb``, 1 to 21. Source: WCAG 2.1, section "contrast ratio"."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink(colour: str) -> str:
    """The colour for text on white: the same colour if it is readable, otherwise a darker shade of it."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    for share in range(100, -1, -2):
        darker = "#" + "".join(f"{part * share // 100:02x}" for part in parts)
        if contrast(darker, "#ffffff") >= READABLE:
            return darker
    return "#000000"

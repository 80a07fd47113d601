"""How each agent is named, grouped and coloured, in tables, figures and sentences alike.

The colours are those of Okabe and Ito, a little darkened; colour-blind readers tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

REFERENCE, SCRATCH, LOGS, LABELS, RIVALS, OTHER = (
    "References",
    "From scratch",
    "Pre-trained on logs",
    "Pre-trained on LLM labels",
    "Pre-trained on LLM labels, other ways of adapting",
    "Others",
)
GROUPS = (REFERENCE, SCRATCH, LOGS, LABELS, RIVALS, OTHER)


LONGEST_NAME = 40  # characters of an agent's name that are shown
READABLE = 4.5  # least contrast of text: WCAG 2.1, level AA


class Style(NamedTuple):
    """Display name, group in tables, colour of the line."""

    name: str
    group: str
    colour: str


AGENTS = {
    "random": Style("Random", REFERENCE, "#6b6b6b"),
    "popular": Style("Popular", REFERENCE, "#6b6b6b"),
    "oracle": Style("Oracle", REFERENCE, "#6b6b6b"),
    "dqn": Style("DQN", SCRATCH, "#e69f00"),
    "pg": Style("PG", SCRATCH, "#cc79a7"),
    "a2c": Style("A2C", SCRATCH, "#3fa9dc"),
    "sasrec": Style("SASRec", LOGS, "#0072b2"),
    "a2c_warm": Style("A2C warm", LOGS, "#0072b2"),
    "ialp": Style("iALP", LABELS, "#1a1a1a"),
    "a_ialp_ft": Style("A-iALP_ft", LABELS, "#009e73"),
    "a_ialp_ap": Style("A-iALP_ap", LABELS, "#d55e00"),
    "a_ialp_gate": Style("A-iALP_gate", LABELS, "#882255"),
    "a2c_kl": Style("A2C + KL", RIVALS, "#117733"),
    "jsrl": Style("JSRL", RIVALS, "#6a51a3"),
    "pex": Style("PEX", RIVALS, "#a65628"),
    "rlpd": Style("RLPD", RIVALS, "#b5890b"),
    "wsrl": Style("WSRL", RIVALS, "#44aa99"),
}
_SPARE = ("#332288", "#999933", "#aa4499", "#ddaa33", "#661100")


def style(agent: str) -> Style:
    """How an agent is drawn; one that the table does not know keeps its id and gets a spare colour."""
    name = agent if len(agent) <= LONGEST_NAME else f"{agent[: LONGEST_NAME - 1]}…"
    return AGENTS.get(agent) or Style(name, OTHER, _SPARE[sum(agent.encode()) % len(_SPARE)])


def ordered(agents: Iterable[str]) -> list[str]:
    """Agent ids in the order of the table, unknown ones last."""
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
    """The colour for text on white: as it is if it can be read, else a darker one of the same hue."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    for share in range(100, -1, -2):
        darker = "#" + "".join(f"{part * share // 100:02x}" for part in parts)
        if contrast(darker, "#ffffff") >= READABLE:
            return darker
    return "#000000"

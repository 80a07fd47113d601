"""Titles as prompts show them; items that share a title get a detail or a number.

A title is data: it fills one line and nothing else. A model cannot choose between two items that a
prompt shows alike. So all titles of a catalogue differ, in more than upper and lower case.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

UNTITLED = "(untitled)"
LONGEST_DETAIL = 60  # characters
_INVISIBLE = {"Cf", "Cs", "Co", "Cn"}  # direction marks, zero-width characters, surrogates, unassigned
_BREAKS = {"Cc", "Zl", "Zp", "Zs"}  # control characters, line and paragraph separators, odd spaces
_INERT = {
    **dict.fromkeys('"\u201c\u201d\u201e\u201f\u00ab\u00bb\u301d\u301e\u301f', "'"),
    **dict.fromkeys("[{<", "("),
    **dict.fromkeys("]}>", ")"),
    "|": "/",
}


def visible(title: str) -> str:
    """A title as one printable line: no title can end its line, reorder the text or add lines."""
    if title.isascii() and title.isprintable():
        return re.sub(" +", " ", title).strip()
    kept = []
    for character in unicodedata.normalize("NFC", title):
        category = unicodedata.category(character)
        if category in _BREAKS:
            kept.append(" ")
        elif category not in _INVISIBLE:
            kept.append(character)
    return re.sub(" +", " ", "".join(kept)).strip()


def sanitise(title: str, max_title: int) -> str:
    """The first ``max_title`` characters that are visible, or "(untitled)"."""
    return visible(title)[:max_title].strip() or UNTITLED


def quote(title: str, max_title: int) -> str:
    """As `sanitise`, and without what could close a quote or pass for a marker of a chat template.

    Double quotes become single ones, brackets become round ones and bars become slashes, wide forms
    included: so ``[/INST]``, ``</s>`` and ``<|im_end|>`` are no markers in any model, even in one whose
    markers are not special tokens. Only the quotes hold markers that consist of words.
    """
    text = sanitise(title, max_title)
    return "".join(_INERT.get(unicodedata.normalize("NFKC", character), character) for character in text)


def appearance(title: str, max_title: int | None = None) -> str:
    """Equal for two titles that a prompt shows alike, or that differ by case only."""
    return quote(title, len(title) if max_title is None else max_title).casefold()


def _shared(appearances: Sequence[str]) -> list[list[int]]:
    """Places of equal appearances, each group of two or more ascending."""
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(appearances):
        groups.setdefault(one, []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def tell_apart(titles: Sequence[str], details: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Adds a detail to each title that several items share: "Emma (1996)" -> "Emma (1996) (Comedy)".

    Args:
      titles: N titles, none empty.
      details: columns of N texts, best first. A group of equal titles takes the first column that is
        different and not empty for all of them; without such a column, each takes a number.

    Returns:
      N different titles, and how many were changed. Titles that no other item has stay as they are.
    """
    found, taken = list(titles), {appearance(title) for title in titles}
    groups = _shared([appearance(title) for title in titles])
    for places in groups:
        numbers = map(str, itertools.count(1))
        columns = [[column[place] for place in places] for column in details]
        fitting = (column for column in columns if _differ(column))
        for place, detail in zip(places, next(fitting, numbers), strict=False):
            choices = (f"{titles[place]} ({text})" for text in itertools.chain([detail], numbers))
            found[place] = _free(choices, taken)
    return found, sum(map(len, groups))


def _free(choices: Iterator[str], taken: set[str]) -> str:
    """The first choice that looks unlike all that is taken; it is taken then."""
    chosen = next(choice for choice in choices if appearance(choice) not in taken)
    taken.add(appearance(chosen))
    return chosen


def _differ(details: Sequence[str]) -> bool:
    plain = {appearance(detail) for detail in details}
    return len(plain) == len(details) and all(visible(d) and len(d) <= LONGEST_DETAIL for d in details)


def cut_apart(titles: Sequence[str], max_title: int) -> list[str]:
    """Titles as `sanitise` cuts them, and told apart if the cut makes them equal.

    "Safety glasses, clear lens, large" and "... small" become, within the length, "Safety glasse\u2026 large"
    and "Safety glasse\u2026 small"; a number replaces the end if that does not help. A number needs a length
    of 12; shorter cuts stay as they are.

    Args:
      titles: different titles.
      max_title: characters that are shown.

    Returns:
      Titles whose cuts are different; those that no other title equals stay as they are, uncut.
    """
    cut = [appearance(title, max_title) for title in titles]
    groups, shown, taken = _shared(cut) if max_title >= 12 else [], list(titles), set(cut)
    for places in groups:
        ends = _ends([visible(titles[place]) for place in places], max_title)
        for place, end in zip(places, ends, strict=True):
            numbers = (f" ({number})" for number in itertools.count(1))
            choices = (_with_end(titles[place], text, max_title) for text in itertools.chain(end, numbers))
            shown[place] = _free(choices, taken)
    return shown


def _ends(titles: Sequence[str], max_title: int) -> list[list[str]]:
    """The words of each title after those that all share, cut to half the length; empty if none are left."""
    words = [title.split(" ") for title in titles]
    shared = sum(
        1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, zip(*words, strict=False))
    )
    ends = ["".join(" ".join(own[shared:])[: max_title // 2]).strip() for own in words]
    return [[f"\u2026 {end}"] if end else [] for end in ends]


def _with_end(title: str, end: str, max_title: int) -> str:
    return sanitise(title, max_title - len(end)) + end

"""Makes titles safe to show in a prompt, and makes equal titles different.

A title is data: in a prompt it must fill one line and change nothing else. An LLM cannot choose between two
items that look the same in a prompt. So all titles of a catalogue differ, and not only in case.
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
    """Returns a title as one printable line that cannot add lines or change the order of the text."""
    if title.isascii() and title.isprintable():
        return re.sub(" +", " ", title).strip()
    characters = []
    for character in unicodedata.normalize("NFC", title):
        category = unicodedata.category(character)
        if category in _BREAKS:
            characters.append(" ")
        elif category not in _INVISIBLE:
            characters.append(character)
    return re.sub(" +", " ", "".join(characters)).strip()


def sanitise(title: str, max_title: int) -> str:
    """Returns the first ``max_title`` visible characters, or "(untitled)" if there are none."""
    return visible(title)[:max_title].strip() or UNTITLED


def quote(title: str, max_title: int) -> str:
    """Sanitises a title and replaces characters that could close a quote or form a chat template's marker.

    Double quotes become single ones, brackets become round ones and bars become slashes; wide forms too. So
    ``[/INST]``, ``</s>`` and ``<|im_end|>`` are no longer markers, even in models whose markers are not
    special tokens. Markers that consist of words are not replaced. The quotes around titles are the only
    protection from them.
    """
    text = sanitise(title, max_title)
    return "".join(_INERT.get(unicodedata.normalize("NFKC", character), character) for character in text)


def appearance(title: str, max_title: int | None = None) -> str:
    """Returns a key that is equal for two titles that look the same in a prompt or differ only in case."""
    return quote(title, len(title) if max_title is None else max_title).casefold()


def _shared(appearances: Sequence[str]) -> list[list[int]]:
    """Returns groups of two or more positions with equal appearances, each ascending."""
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(appearances):
        groups.setdefault(one, []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def tell_apart(titles: Sequence[str], details: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Adds a detail to each title that several items share: "Emma (1996)" -> "Emma (1996) (Comedy)".

    Args:
      titles: N titles, none empty.
      details: columns of N texts, best first. A group of equal titles gets the first column in which all
        texts of the group are different and not empty. If there is no such column, the titles get numbers.

    Returns:
      N different titles, and the number of changed titles. A title that only one item has does not change.
    """
    different, taken = list(titles), {appearance(title) for title in titles}
    groups = _shared([appearance(title) for title in titles])
    for places in groups:
        numbers = map(str, itertools.count(1))
        columns = [[column[place] for place in places] for column in details]
        fitting = (column for column in columns if _differ(column))
        for place, detail in zip(places, next(fitting, numbers), strict=False):
            choices = (f"{titles[place]} ({text})" for text in itertools.chain([detail], numbers))
            different[place] = _first_free(choices, taken)
    return different, sum(map(len, groups))


def _first_free(choices: Iterator[str], taken: set[str]) -> str:
    """Returns the first choice whose appearance is not in ``taken``, and adds it there."""
    chosen = next(choice for choice in choices if appearance(choice) not in taken)
    taken.add(appearance(chosen))
    return chosen


def _differ(details: Sequence[str]) -> bool:
    plain = {appearance(detail) for detail in details}
    return len(plain) == len(details) and all(visible(d) and len(d) <= LONGEST_DETAIL for d in details)


def cut_apart(titles: Sequence[str], max_title: int) -> list[str]:
    """Changes titles that become equal when `sanitise` cuts them to ``max_title`` characters.

    "Safety glasses, clear lens, large" and "... small" become "Safety glasse\u2026 large" and
    "Safety glasse\u2026 small". If the ends are equal too, a number replaces them. Titles may remain equal if
    ``max_title`` is below 12, because a number then does not fit.

    Args:
      titles: different titles.
      max_title: number of characters that a prompt shows.

    Returns:
      Titles that are different after the cut. If a title is still unique after the cut, it is returned whole.
    """
    cut = [appearance(title, max_title) for title in titles]
    groups, shown, taken = _shared(cut) if max_title >= 12 else [], list(titles), set(cut)
    for places in groups:
        ends = _ends([visible(titles[place]) for place in places], max_title)
        for place, end in zip(places, ends, strict=True):
            numbers = (f" ({number})" for number in itertools.count(1))
            choices = (_with_end(titles[place], text, max_title) for text in itertools.chain(end, numbers))
            shown[place] = _first_free(choices, taken)
    return shown


def _ends(titles: Sequence[str], max_title: int) -> list[list[str]]:
    """Returns each title without the first words that all share, cut to half the length; may be empty."""
    words = [title.split(" ") for title in titles]
    shared = sum(
        1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, zip(*words, strict=False))
    )
    ends = ["".join(" ".join(title_words[shared:])[: max_title // 2]).strip() for title_words in words]
    return [[f"\u2026 {end}"] if end else [] for end in ends]


def _with_end(title: str, end: str, max_title: int) -> str:
    return sanitise(title, max_title - len(end)) + end

"""Makes titles safe to show in a prompt, and makes equal titles different.

A title is untrusted text. In a prompt it must fill one line and must not change any other text. An LLM cannot
choose between two items that look the same in a prompt. So any two titles of a catalogue differ in more
than upper and lower case.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

UNTITLED = "(untitled)"
LONGEST_DETAIL = 60  # maximum number of characters of a detail.
# Unicode categories that are deleted: direction marks, zero-width characters, surrogates, unassigned.
_INVISIBLE = {"Cf", "Cs", "Co", "Cn"}
# Unicode categories that become a space: control characters, line and paragraph separators, unusual spaces.
_BREAKS = {"Cc", "Zl", "Zp", "Zs"}
_INERT = {
    **dict.fromkeys('"\u201c\u201d\u201e\u201f\u00ab\u00bb\u301d\u301e\u301f', "'"),
    **dict.fromkeys("[{<", "("),
    **dict.fromkeys("]}>", ")"),
    "|": "/",
}


def visible(title: str) -> str:
    """Returns a title as one printable line, without characters that break lines or reverse text."""
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
    """Returns the first ``max_title`` visible characters of a title, or "(untitled)" if it has none."""
    return visible(title)[:max_title].strip() or UNTITLED


def quote(title: str, max_title: int) -> str:
    """Sanitises a title and replaces characters that could close a quote or form a chat template's marker.

    Double quotes become single quotes, all brackets become parentheses, and bars become slashes. The same
    holds for wide forms of these characters. So ``[/INST]``, ``</s>`` and ``<|im_end|>`` are no longer
    markers, even in models whose markers are not special tokens. Markers that consist of words are not
    replaced; the quotes around a title are the only protection against such markers.
    """
    text = sanitise(title, max_title)
    return "".join(_INERT.get(unicodedata.normalize("NFKC", character), character) for character in text)


def appearance(title: str, max_title: int | None = None) -> str:
    """Returns a key that titles share if they look the same in a prompt, apart from upper and lower case."""
    return quote(title, len(title) if max_title is None else max_title).casefold()


def _shared(appearances: Sequence[str]) -> list[list[int]]:
    """Groups the positions of equal appearances. Returns groups of two or more, in ascending order."""
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(appearances):
        groups.setdefault(one, []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def tell_apart(titles: Sequence[str], details: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Adds a detail to each title that several items share: "Emma (1996)" -> "Emma (1996) (Comedy)".

    Args:
      titles: N titles, none empty.
      details: columns of N texts, best first. A group of equal titles uses the first column in which all
        texts of the group are different and not empty. Without such a column, the titles get numbers.

    Returns:
      N different titles, and the number of changed titles. Titles that are already unique do not change.
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
    """Returns the first choice whose appearance is not in ``taken``. Adds this appearance to ``taken``."""
    chosen = next(choice for choice in choices if appearance(choice) not in taken)
    taken.add(appearance(chosen))
    return chosen


def _differ(details: Sequence[str]) -> bool:
    plain = {appearance(detail) for detail in details}
    return len(plain) == len(details) and all(visible(d) and len(d) <= LONGEST_DETAIL for d in details)


def cut_apart(titles: Sequence[str], max_title: int) -> list[str]:
    """Changes titles that would become equal when `sanitise` cuts them to ``max_title`` characters.

    For example, "Safety glasses, clear lens, large" and "Safety glasses, clear lens, small" become "Safety
    glasse\u2026 large" and "Safety glasse\u2026 small". If the last words are equal too, the title ends in a
    number instead. If ``max_title`` is below 12, a number does not fit, and no title is changed.

    Args:
      titles: different titles.
      max_title: maximum number of characters of a title in a prompt.

    Returns:
      Titles that are different after the cut. A title that the cut leaves unique is returned whole.
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
    """Returns the last words of each title, without the first words that all titles share.

    The last words are cut to ``max_title // 2`` characters. A title without such words gets an empty list.
    """
    words = [title.split(" ") for title in titles]
    shared = sum(
        1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, zip(*words, strict=False))
    )
    ends = ["".join(" ".join(title_words[shared:])[: max_title // 2]).strip() for title_words in words]
    return [[f"\u2026 {end}"] if end else [] for end in ends]


def _with_end(title: str, end: str, max_title: int) -> str:
    return sanitise(title, max_title - len(end)) + end

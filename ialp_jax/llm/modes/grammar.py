"""Reads a letter or "none" from a free-text answer. Pure Python.

The grammar reads the first non-blank line after the model's thinking. ``X`` is a capital letter that is a
whole word: no letter, digit or apostrophe touches it, and no hyphen joins it to a word ("Jay-Z"). ``X`` must
not be the first word of a phrase ("I would ...", "A good ..."). So a word that follows it must be ``and``,
``or``, ``is``, ``because`` or another such letter.

    answer  = [thought] reply                          -> result of the reply
    thought = closed blocks such as <think> ... </think>; all text up to the end of the last block is ignored
    reply   = refusal                                  -> refused
            | head echo                                -> the line of X
            | [words] X [words without another X]      -> the line of X
            | none                                     -> the last line
    head    = [marks] X mark | [marks] X end           here X may also be a small letter
    echo    = text with no other letter and no "none", as in "B. Queen" or "B: the closest"
    none    = [marks] ("none" | "none of ..." | the text of the last line ...)
    mark    = one of . ) ] } > : * " and the like      marks = any of them, also opening ones
    refusal = "I cannot", "I can't", "I'm sorry", "as an AI", ... at the beginning; elsewhere only if no X

Every other answer is invalid, for one of these causes:

    empty         no non-blank line
    refused       see above
    several       it names several lines, or a candidate and "none"
    out_of_range  X is not in the list
    no_letter     it names no line
    thinking      a block of thinking is not closed: the reply was too short
"""

from __future__ import annotations

import re
import string

from ialp_jax.llm.prompting import thinking

_APOSTROPHES = "'\u2019"
_MARKS = r"[^\w\s]"
_ALONE = (
    rf"(?<![\w{_APOSTROPHES}])(?<!\w-)([A-Z])(?![\w{_APOSTROPHES}]|-\w)"
    r"(?!\s+(?!(?:and|or|is|because|[A-Z])\b)\w)"
)
_LETTER = re.compile(_ALONE)
_HEAD = re.compile(
    rf"(?:{_MARKS}|\s)*([A-Za-z])(?:\s*$|(?:(?![{_APOSTROPHES},;/&+-]){_MARKS})+(?!\w)|[{_APOSTROPHES}](?!\w))"
)
_SECOND = re.compile(rf"(?:{_MARKS}|\s)*(?:(?:and|or)\s+)?{_MARKS}*{_ALONE}")
_NONE = re.compile(rf"(?:{_MARKS}|\s)*none(?:\s+of\b.*|(?:{_MARKS}|\s)*)$", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:(?:i|we)(?:'m| am| are)?\s+(?:cannot|can't|can not|could not|couldn't|won't|will not|do not know|"
    r"don't know|not able|unable|sorry|afraid)|sorry|unable to|as an ai|as a language model)\b",
    re.IGNORECASE,
)


def parse(text: str, num_candidates: int, none_text: str, opened: bool = False) -> tuple[int, str]:
    """Reads an answer.

    Args:
      text: what the model wrote.
      num_candidates: K; the list has K + 1 lines, at most 26.
      none_text: text of the last line.
      opened: whether the prompt ended inside a block of thinking.

    Returns:
      The named line, 1..K + 1, and ``valid``; or 0 and the cause.
    """
    answer = thinking.answer_of(text, opened)
    if answer is None:
        return 0, "thinking"
    line = next((line.strip() for line in answer.splitlines() if line.strip()), "")
    if not line:
        return 0, "empty"
    plain = line.replace("\u2019", "'")
    if _REFUSAL.match(plain.lstrip("\"'*([ ")):
        return 0, "refused"
    named = _named(line, num_candidates, none_text)
    if not named:
        return 0, "refused" if _REFUSAL.search(plain) else "no_letter"
    if len(named) > 1:
        return 0, "several"
    (place,) = named
    return (place, "valid") if place <= num_candidates + 1 else (0, "out_of_range")


def _named(line: str, num_candidates: int, none_text: str) -> set[int]:
    """Numbers 1..26 of all lettered lines that ``line``, the first line of an answer, names."""
    last = num_candidates + 1
    head = _HEAD.match(line)
    if head is None:
        named = {_place(letter) for letter in _LETTER.findall(line)}
        return named or ({last} if _says_none(line, none_text) else set())
    named, echo = {_place(head[1])}, line[head.end() :]
    if second := _SECOND.match(echo):
        named.add(_place(second[1]))
    return named | ({last} if _says_none(echo, none_text) else set())


def _place(letter: str) -> int:
    return string.ascii_uppercase.index(letter.upper()) + 1


def _says_none(text: str, none_text: str) -> bool:
    """Whether a text is "none" or "none of ...", or begins with the text of the last line."""
    words = re.sub(rf"^(?:{_MARKS}|\s)+", "", text).casefold()
    return _NONE.match(text) is not None or words.startswith(none_text.casefold())

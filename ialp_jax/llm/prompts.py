"""How a history of titles becomes text. A title is data: it fills one line and nothing else.

A prompt of the ``likelihood`` mode is the template's introduction, then one line per liked item, oldest
first; the candidate's line is what the model is asked the probability of, its line end included, so that
"Queen" is not credited with all that "Queens of the Stone Age" earns.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

from ialp_jax import store

LINE_END = "\n"
UNTITLED = "(untitled)"
_INVISIBLE = {"Cf", "Cs", "Co", "Cn"}  # direction marks, zero-width characters, surrogates, unassigned
_BREAKS = {"Cc", "Zl", "Zp", "Zs"}  # control characters, line and paragraph separators, odd spaces


@dataclasses.dataclass(frozen=True)
class Template:
    """The fixed text around titles.

    Attributes:
      name: what ``--config.llm.template`` calls it.
      version: raised with every change of meaning.
      introduction: text before the first line, empty or ending in a line end.
      bullet: text before each title.
      max_title: characters of a title that are shown.
    """

    name: str
    version: int
    introduction: str
    bullet: str
    max_title: int = 120

    def line(self, title: str) -> str:
        """One item's line."""
        return self.bullet + sanitise(title, self.max_title) + LINE_END

    def digest(self) -> str:
        """sha256 of everything that shapes the text."""
        return store.digest(dataclasses.asdict(self))


TEMPLATES = {
    "titles": Template(name="titles", version=1, introduction="", bullet=""),
    "list": Template(
        name="list",
        version=1,
        introduction="A person likes these items, one per line, in the order in which they were found:\n",
        bullet="- ",
    ),
}


def choose(name: str, embedded: bool) -> Template:
    """The template of a name; ``auto`` is ``titles`` for the embedded model and ``list`` for a given one."""
    return TEMPLATES[("titles" if embedded else "list") if name == "auto" else name]


def sanitise(title: str, max_title: int) -> str:
    """A title as one printable line: no title can end its line, reorder the text or add lines of its own."""
    kept = []
    for character in unicodedata.normalize("NFC", title):
        category = unicodedata.category(character)
        if category in _BREAKS:
            kept.append(" ")
        elif category not in _INVISIBLE:
            kept.append(character)
    return re.sub(" +", " ", "".join(kept)).strip()[:max_title].strip() or UNTITLED


def render(template: Template, titles: Sequence[str], history: Sequence[int]) -> str:
    """The prompt as text. ``history`` int [L], item ids, oldest first; 0 is padding and leaves no trace."""
    return template.introduction + "".join(template.line(titles[item]) for item in history if item)

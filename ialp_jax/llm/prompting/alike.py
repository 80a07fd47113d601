"""Items that a prompt shows with the same words. A prompt may contain only one of them.

Titles are unique in a data set. `templates.shown` makes titles different again if a template cuts them to the
same text. It cannot do so if the cut is very short. This module handles the remaining cases.

In all modules, ``alike`` is int32 [N + 1]. Items with the same words have the same number, and padding has 0.
``alike`` is None if all items differ. Then all random draws are the same as without this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ialp_jax.llm.prompting.templates import Template, quote, sanitise


def groups(titles: Sequence[str], template: Template, lettered: bool) -> np.ndarray | None:
    """Numbers items so that items with the same words have the same number.

    Args:
      titles: N + 1 titles; the first is padding.
      template: fixes the part of a title that is shown.
      lettered: whether candidates have letters; if so, titles are in quotes.

    Returns:
      ``alike``, see the module.
    """
    show = quote if lettered else sanitise
    words = [show(title, template.max_title) for title in titles[1:]]
    known, inverse = np.unique(np.array(words), return_inverse=True)
    if len(known) == len(words):
        return None
    return np.concatenate([[0], inverse + 1]).astype(np.int32)


def apart(items: np.ndarray, others: np.ndarray, alike: np.ndarray | None) -> np.ndarray:
    """Removes items [n] with the same words as one of the others [m]. Keeps all if ``alike`` is None."""
    return items if alike is None else items[~np.isin(alike[items], alike[others])]


def different(items: np.ndarray, alike: np.ndarray | None) -> np.ndarray:
    """Keeps only the first of several items [n] with the same words. Keeps all if ``alike`` is None."""
    if alike is None:
        return items
    return items[np.sort(np.unique(alike[items], return_index=True)[1])]


def largest(alike: np.ndarray | None) -> int:
    """Largest number of items with the same words; 1 if all differ."""
    return 1 if alike is None else int(np.bincount(alike).max())

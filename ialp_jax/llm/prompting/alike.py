"""Groups of items that prompts show with the same words. A prompt may contain only one item of a group.

Titles are unique in a data set. If a template cuts titles to the same text, `templates.shown` makes them
different again. That fails if a template shows very few characters; this module handles these cases.

In all modules, ``alike`` is int32 [N + 1]. Items with the same words have the same number, and padding has 0.
``alike`` is None if no two items have the same words; random draws then do not depend on this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ialp_jax.llm.prompting.templates import Template, quote, sanitise


def groups(titles: Sequence[str], template: Template, lettered: bool) -> np.ndarray | None:
    """Numbers items so that items with the same words have the same number.

    Args:
      titles: N + 1 titles; the first is padding.
      template: determines how many characters of a title are shown.
      lettered: whether prompts have lettered candidates; such prompts put titles in quotes.

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
    """Removes each of ``items`` [n] that has the same words as one of ``others`` [m].

    If ``alike`` is None, keeps all items.
    """
    return items if alike is None else items[~np.isin(alike[items], alike[others])]


def different(items: np.ndarray, alike: np.ndarray | None) -> np.ndarray:
    """Keeps only the first of several items [n] with the same words. If ``alike`` is None, keeps all."""
    if alike is None:
        return items
    return items[np.sort(np.unique(alike[items], return_index=True)[1])]


def largest(alike: np.ndarray | None) -> int:
    """Size of the largest group of items with the same words; 1 if no two items have the same words."""
    return 1 if alike is None else int(np.bincount(alike).max())

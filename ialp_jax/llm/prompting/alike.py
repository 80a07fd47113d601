"""Items that a prompt shows by the same words: no prompt may offer two of them, nor one beside its twin.

Titles are unique in a data set, and `templates.shown` tells apart those that a template cuts alike, except by
very short cuts. This module sees to the rest. Everywhere here ``alike`` is int32 [N + 1], the same number for
items of the same words, 0 for padding; or None where all items differ, and then nothing is changed, no random
draw included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ialp_jax.llm.prompting.templates import Template, quote, sanitise


def groups(titles: Sequence[str], template: Template, lettered: bool) -> np.ndarray | None:
    """Which items look alike.

    Args:
      titles: N + 1 titles; the first is padding.
      template: what of a title is shown.
      lettered: whether candidates have letters, and therefore quotes.

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
    """The items [n] of which none of the others [m] has the words; all where ``alike`` is None."""
    return items if alike is None else items[~np.isin(alike[items], alike[others])]


def different(items: np.ndarray, alike: np.ndarray | None) -> np.ndarray:
    """The items [n], of those with the same words the first; all where ``alike`` is None."""
    if alike is None:
        return items
    return items[np.sort(np.unique(alike[items], return_index=True)[1])]


def largest(alike: np.ndarray | None) -> int:
    """How many items have the same words, at most; 1 where all differ."""
    return 1 if alike is None else int(np.bincount(alike).max())

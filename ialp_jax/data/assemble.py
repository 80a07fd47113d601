"""From raw ids to a ``Dataset``: drop, count, renumber, split. Shared by all data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ialp_jax.data.config import DataConfig
from ialp_jax.data.splits import histories, split_users
from ialp_jax.errors import InputError
from ialp_jax.types import Catalogue, Dataset, Interactions, UserModel

MIN_LIKES = 2  # one like to know a user by, one to be discovered


def frequent_likes(
    user: np.ndarray, item: np.ndarray, titled: np.ndarray, min_listeners: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows stay, and what is dropped for which reason.

    In this order, each once: rows of items without a title; items with fewer than ``min_listeners``
    users; users with fewer than two likes left (an item may thereby lose a listener and stays).

    Args:
      user: int [M], any numbering from 0.
      item: int [M], positions in ``titled``.
      titled: bool [items], whether an item has a title.
      min_listeners: least number of users of an item.

    Returns:
      bool [M] and counts by reason.
    """
    named = titled[item]
    listeners = np.bincount(item[named], minlength=len(titled))
    frequent = named & (listeners[item] >= min_listeners)
    likes = np.bincount(user[frequent], minlength=user.max(initial=-1) + 1)
    keep = frequent & (likes[user] >= MIN_LIKES)
    return keep, {
        "items without a title": int(np.sum(~titled)),
        "rows of items without a title": int(np.sum(~named)),
        f"items with fewer than {min_listeners} users": int(np.sum(titled & (listeners < min_listeners))),
        f"rows of items with fewer than {min_listeners} users": int(np.sum(named & ~frequent)),
        "users with no like left": len(np.unique(user)) - int(np.sum(likes > 0)),
        "users with fewer than two likes": int(np.sum((likes > 0) & (likes < MIN_LIKES))),
    }


def build(
    config: DataConfig,
    user: np.ndarray,
    item: np.ndarray,
    titles: Sequence[str],
    category: np.ndarray,
    category_names: Sequence[str],
    ordered: bool,
    dropped: Mapping[str, int],
    truth: UserModel | None = None,
) -> Dataset:
    """Renumbers what is left and splits its users; rows are likes (implicit feedback).

    Args:
      config: names the world; gives the seed and the shares of the splits.
      user: int [M], any numbering; users are renumbered 0..U-1 in ascending order.
      item: int [M], positions in ``titles``; items are renumbered 1..N in ascending order.
      titles: of all items, also of those that no row names.
      category: int [len(titles)], 0 for none.
      category_names: ``category_names[0] == ""``.
      ordered: whether rows of a user stand in the order of time.
      dropped: what was left out before.
      truth: the user model behind generated data, of the users and items that are left.

    Raises:
      InputError: nothing is left, or a split is empty.
    """
    if not len(user):
        raise InputError(
            f"{config.name}: no interaction is left after filtering; lower --config.data.min_listeners"
        )
    by_user = np.argsort(user, kind="stable")
    _, user = np.unique(user[by_user], return_inverse=True)
    kept, item = np.unique(item[by_user], return_inverse=True)
    catalogue = Catalogue(
        titles=("", *(titles[index] for index in kept)),
        category=np.concatenate([[0], category[kept]]).astype(np.int32),
        category_names=tuple(category_names),
    )
    rows = Interactions(
        user.astype(np.int32), (item + 1).astype(np.int32), np.ones(len(user), bool), ordered=ordered
    )
    num_users = int(user[-1]) + 1
    split = split_users(num_users, config.fractions, config.seed)
    return Dataset(
        config.name, catalogue, rows, histories(rows, num_users, config.seed), split, dict(dropped), truth
    )

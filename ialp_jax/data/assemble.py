"""From raw ids to a ``Dataset``: drop, count, renumber, split. Shared by all data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ialp_jax.data.config import DataConfig
from ialp_jax.data.splits import histories, split_users
from ialp_jax.errors import InputError
from ialp_jax.types import Catalogue, Dataset, Interactions, UserModel


class Rows(NamedTuple):
    """Interactions as a file has them; where users have an order of time, the rows stand in it.

    Attributes:
      user: int [M], any numbering from 0.
      item: int [M], positions in ``Items.titles``.
      rating: float [M], or None where every row is a like.
      propensity: float [M], where it is published.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None = None
    propensity: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> Rows:
        """The rows that a mask or an index chooses."""
        return Rows(*(None if column is None else column[chosen] for column in self))


class Items(NamedTuple):
    """All items of a file, also those that no row names.

    Attributes:
      titles: of each item; an empty one drops the item.
      category: int [len(titles)], 0 for none.
      category_names: ``category_names[0] == ""``.
      text: further descriptions [len(titles)], or None.
    """

    titles: Sequence[str]
    category: np.ndarray
    category_names: Sequence[str]
    text: Sequence[str] | None = None


def numbered(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Category names of items to int32 [len(names)] and the names in alphabetical order after ``""``."""
    known = ["", *sorted(set(names) - {""})]
    number = {name: index for index, name in enumerate(known)}
    return np.array([number[name] for name in names], np.int32), known


def likes_of(rows: Rows, like_at: float) -> np.ndarray:
    """Which rows are likes, bool [M]: ratings of at least ``like_at``, or all where there are none."""
    return np.ones(len(rows.user), bool) if rows.rating is None else rows.rating >= like_at


def once_each(rows: Rows) -> np.ndarray:
    """One row per user and item, as ascending indices: the first like, or the latest word where rated."""
    pair = rows.user.astype(np.int64) * (int(rows.item.max(initial=0)) + 1) + rows.item
    if rows.rating is None:
        return np.sort(np.unique(pair, return_index=True)[1])
    return np.sort(len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1])


def kept_rows(
    rows: Rows, like: np.ndarray, titled: np.ndarray, min_users: int, min_likes: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows stay, and what is dropped for which reason.

    In this order, each once: rows of items without a title; items with fewer than ``min_users`` users;
    users with fewer than ``min_likes`` likes left (an item may thereby lose a user and stays).

    Args:
      rows: M rows, one per user and item.
      like: bool [M].
      titled: bool [items], whether an item has a title.
      min_users: least number of users of an item.
      min_likes: least number of likes of a user.

    Returns:
      bool [M] and counts by reason.
    """
    named = titled[rows.item]
    users = np.bincount(rows.item[named], minlength=len(titled))
    frequent = named & (users[rows.item] >= min_users)
    likes = np.bincount(rows.user[frequent & like], minlength=rows.user.max(initial=-1) + 1)
    keep = frequent & (likes[rows.user] >= min_likes)
    left = np.bincount(rows.item[keep], minlength=len(titled))
    few_users = "no user" if min_users == 1 else f"fewer than {min_users} users"
    return keep, {
        "items without a title": int(np.sum(~titled)),
        "rows of items without a title": int(np.sum(~named)),
        f"items with {few_users}": int(np.sum(titled & (users < min_users))),
        f"rows of items with {few_users}": int(np.sum(named & ~frequent)),
        "users with no like left": len(np.unique(rows.user)) - int(np.sum(likes > 0)),
        f"users with fewer than {min_likes} likes": int(np.sum((likes > 0) & (likes < min_likes))),
        f"rows of users with fewer than {min_likes} likes": int(np.sum(frequent & ~keep)),
        "items of none but these users": int(np.sum(titled & (users >= min_users) & (left == 0))),
    }


def assemble(
    config: DataConfig,
    rows: Rows,
    items: Items,
    ordered: bool,
    dropped: Mapping[str, int] | None = None,
    usual_min_users: int = 1,
    usual_min_likes: int = 2,
    truth: UserModel | None = None,
    random_test: Rows | None = None,
) -> Dataset:
    """Drops what cannot be used, renumbers what is left and splits its users.

    Args:
      config: names the world; gives the filters, the seed and the shares of the splits.
      rows: users are renumbered 0..U-1 and items 1..N, each in ascending order of their number here.
      items: of the file.
      ordered: whether rows of a user stand in the order of time.
      dropped: what was left out before, by reason.
      usual_min_users: what ``config.min_users == 0`` stands for.
      usual_min_likes: what ``config.min_likes == 0`` stands for.
      truth: the user model behind generated data, of all users and items of the file.
      random_test: ratings to be kept apart; those of dropped users or items are dropped.

    Raises:
      InputError: nothing is left, or a split is empty.
    """
    first = once_each(rows)
    min_users, min_likes = config.min_users or usual_min_users, config.min_likes or usual_min_likes
    repeated, rows = len(rows.user) - len(first), rows.at(first)
    titled = np.array([bool(title) for title in items.titles], bool)
    keep, counts = kept_rows(rows, likes_of(rows, config.like_at), titled, min_users, min_likes)
    counts = {"repeated rows of a user and an item": repeated, **counts, **(dropped or {})}
    rows = rows.at(keep)
    if not len(rows.user):
        reasons = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing"
        raise InputError(
            f"{config.name}: no interaction is left after filtering (dropped: {reasons}); look at "
            "--config.data.min_users, .min_likes and, for rated data, .like_at"
        )
    users, kept = np.unique(rows.user), np.unique(rows.item)
    numbers = np.concatenate([[0], kept + 1])
    if random_test is not None:
        known = np.isin(random_test.user, users) & np.isin(random_test.item, kept)
        counts["random test ratings of dropped users or items"] = int(np.sum(~known))
        random_test = random_test.at(known)
    if truth is not None:
        truth = truth._replace(
            user_factors=truth.user_factors[users],
            item_factors=truth.item_factors[numbers],
            item_bias=truth.item_bias[numbers],
        )
    log = _interactions(rows, users, kept, config.like_at, ordered)
    return Dataset(
        name=config.name,
        catalogue=_catalogue(items, kept),
        interactions=log,
        histories=histories(log, len(users), config.seed),
        split=split_users(len(users), config.fractions, config.seed),
        dropped=counts,
        truth=truth,
        random_test=random_test and _interactions(random_test, users, kept, config.like_at, False),
    )


def _catalogue(items: Items, kept: np.ndarray) -> Catalogue:
    """The items that are left; ``kept`` int [N], ascending positions."""
    return Catalogue(
        titles=("", *(items.titles[index] for index in kept)),
        category=np.concatenate([[0], items.category[kept]]).astype(np.int32),
        category_names=tuple(items.category_names),
        text=None if items.text is None else ("", *(items.text[index] for index in kept)),
    )


def _interactions(
    rows: Rows, users: np.ndarray, kept: np.ndarray, like_at: float, ordered: bool
) -> Interactions:
    """Renumbers rows by their users' and items' places in ``users`` and ``kept``, grouped by user."""
    rows = rows.at(np.argsort(rows.user, kind="stable"))
    return Interactions(
        user=np.searchsorted(users, rows.user).astype(np.int32),
        item=(np.searchsorted(kept, rows.item) + 1).astype(np.int32),
        like=likes_of(rows, like_at),
        rating=None if rows.rating is None else rows.rating.astype(np.float32),
        ordered=ordered,
        propensity=None if rows.propensity is None else rows.propensity.astype(np.float32),
    )

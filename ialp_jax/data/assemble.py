"""Turns the rows and items of any data set into a ``Dataset``: drops, counts, renumbers and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ialp_jax.data.config import DataConfig
from ialp_jax.data.splits import histories, split_users
from ialp_jax.data.titles import tell_apart, visible
from ialp_jax.errors import InputError
from ialp_jax.types import Catalogue, Dataset, Interactions, UserModel


class Rows(NamedTuple):
    """Interactions of a file, in the order of time if the data has times.

    Attributes:
      user: int [M], ids, any integers of at least 0.
      item: int [M], positions in ``Items.titles``.
      rating: float [M], or None if every row is a like.
      propensity: float [M], or None if the data has no propensities.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None = None
    propensity: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> Rows:
        """Returns the rows that a mask or an index selects."""
        return Rows(*(None if column is None else column[chosen] for column in self))


class Items(NamedTuple):
    """All items of a file, with or without interactions.

    Attributes:
      titles: title of each item; an item whose title has no visible character is dropped.
      category: int [len(titles)], or [len(titles), G] if items have several categories; 0 means none.
      category_names: ``category_names[0] == ""``.
      text: further descriptions [len(titles)], or None.
      details: columns with one text per item, the preferred column first. If several items share a title, the
        first column whose texts all differ among them is added to the title. If there is no such column, the
        category is added, or else the position in the file.
    """

    titles: Sequence[str]
    category: np.ndarray
    category_names: Sequence[str]
    text: Sequence[str] | None = None
    details: Sequence[Sequence[str]] = ()


def numbered(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Maps categories to numbers, for items with at most one category ("" for none); see `numbered_sets`."""
    return numbered_sets([[name] if name else [] for name in names])


def numbered_sets(sets: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[str]]:
    """Maps categories to numbers, for items that may have several categories.

    Returns:
      The numbers, int32 [len(sets)], or [len(sets), G] padded with 0 if items have up to G > 1 categories;
      and the category names in alphabetical order, after ``""`` for number 0.
    """
    known = ["", *sorted({name for names in sets for name in names})]
    number = {name: index for index, name in enumerate(known)}
    width = max(1, max(map(len, sets), default=1))
    table = np.zeros((len(sets), width), np.int32)
    for row, names in zip(table, sets, strict=True):
        row[: len(names)] = [number[name] for name in names]
    return table[:, 0] if width == 1 else table, known


def likes_of(rows: Rows, like_at: float) -> np.ndarray:
    """Whether each row is a like, bool [M]: its rating is at least ``like_at``, or there are no ratings."""
    return np.ones(len(rows.user), bool) if rows.rating is None else rows.rating >= like_at


def once_each(rows: Rows) -> np.ndarray:
    """Indices of one row per user and item, ascending: the last row if there are ratings, else the first."""
    pair = rows.user.astype(np.int64) * (int(rows.item.max(initial=0)) + 1) + rows.item
    if rows.rating is None:
        return np.sort(np.unique(pair, return_index=True)[1])
    return np.sort(len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1])


def kept_rows(
    rows: Rows, like: np.ndarray, titled: np.ndarray, min_users: int, min_likes: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Decides which rows are used, and counts dropped rows, items and users by reason.

    Drops in three steps, each applied once: items without a title; items with fewer than ``min_users`` users;
    users with fewer than ``min_likes`` remaining likes. The last step can leave an item with too few users.
    Such an item is not dropped, because items are not checked again.

    Args:
      rows: M rows, one per user and item.
      like: bool [M].
      titled: bool [items], whether an item has a title.
      min_users: minimum number of users per item.
      min_likes: minimum number of likes per user.

    Returns:
      bool [M], the rows that are used; and the numbers of dropped items, rows and users, by reason.
    """
    has_title = titled[rows.item]
    users = np.bincount(rows.item[has_title], minlength=len(titled))
    frequent = has_title & (users[rows.item] >= min_users)
    likes = np.bincount(rows.user[frequent & like], minlength=rows.user.max(initial=-1) + 1)
    keep = frequent & (likes[rows.user] >= min_likes)
    left = np.bincount(rows.item[keep], minlength=len(titled))
    few_users = "no user" if min_users == 1 else f"fewer than {min_users} users"
    return keep, {
        "items without a title": int(np.sum(~titled)),
        "rows of items without a title": int(np.sum(~has_title)),
        f"items with {few_users}": int(np.sum(titled & (users < min_users))),
        f"rows of items with {few_users}": int(np.sum(has_title & ~frequent)),
        "users with no like left": len(np.unique(rows.user)) - int(np.sum(likes > 0)),
        f"users with fewer than {min_likes} likes": int(np.sum((likes > 0) & (likes < min_likes))),
        f"rows of users with fewer than {min_likes} likes": int(np.sum(frequent & ~keep)),
        "items whose users are all dropped": int(np.sum(titled & (users >= min_users) & (left == 0))),
    }


def assemble(
    config: DataConfig,
    rows: Rows,
    items: Items,
    ordered: bool,
    dropped: Mapping[str, int] | None = None,
    notes: Mapping[str, int] | None = None,
    usual_min_users: int = 1,
    usual_min_likes: int = 2,
    truth: UserModel | None = None,
    random_test: Rows | None = None,
) -> Dataset:
    """Filters rows, items and users, renumbers the rest and splits the users.

    Args:
      config: name of the world, filters, seed and shares of the splits.
      rows: all interactions. Users are renumbered 0..U-1 and items 1..N, in ascending order of their ids in
        ``rows``.
      items: items of the file.
      ordered: whether the rows of a user are in the order of time.
      dropped: counts of rows or items that the loader dropped, by reason.
      notes: further counts that the data stage prints, by kind.
      usual_min_users: value for ``config.min_users == 0``.
      usual_min_likes: value for ``config.min_likes == 0``.
      truth: user model that generated the data, for all users and items before the filters.
      random_test: ratings of random items. Ratings by dropped users or of dropped items are dropped too.

    Raises:
      InputError: nothing is left, or a split is empty.
    """
    numbers, dense = np.unique(rows.user, return_inverse=True)  # published ids may have 18 digits
    rows = rows._replace(user=dense)
    first = once_each(rows)
    min_users, min_likes = config.min_users or usual_min_users, config.min_likes or usual_min_likes
    repeated, rows = len(rows.user) - len(first), rows.at(first)
    titled = np.array([bool(visible(title)) for title in items.titles], bool)
    keep, counts = kept_rows(rows, likes_of(rows, config.like_at), titled, min_users, min_likes)
    counts = {"repeated rows of a user and an item": repeated, **counts, **(dropped or {})}
    if not keep.any():
        raise _nothing_left(config, counts, rows)
    rows = rows.at(keep)
    users, used_items = np.unique(rows.user), np.unique(rows.item)
    if random_test is not None:
        known = np.isin(random_test.user, numbers[users]) & np.isin(random_test.item, used_items)
        counts["random test ratings of dropped users or items"] = int(np.sum(~known))
        random_test = random_test.at(known)
        random_test = random_test._replace(user=np.searchsorted(numbers, random_test.user))
    if truth is not None:
        truth = truth._replace(
            user_factors=truth.user_factors[numbers[users]],
            item_factors=truth.item_factors[np.concatenate([[0], used_items + 1])],
            item_bias=truth.item_bias[np.concatenate([[0], used_items + 1])],
        )
    log = _interactions(rows, users, used_items, config.like_at, ordered)
    catalogue, renamed = _catalogue(items, used_items)
    return Dataset(
        name=config.name,
        catalogue=catalogue,
        interactions=log,
        histories=histories(log, len(users), config.seed),
        split=split_users(len(users), config.fractions, config.seed),
        dropped=counts,
        truth=truth,
        random_test=random_test and _interactions(random_test, users, used_items, config.like_at, False),
        notes={**({"shared titles made different": renamed} if renamed else {}), **(notes or {})},
    )


def _nothing_left(config: DataConfig, counts: Mapping[str, int], rows: Rows) -> InputError:
    """Returns the error that no row is left; its message names the settings that caused this."""
    reasons = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing"
    remedies = {
        "items without a title": "the titles of the items",
        "items with fewer": "--config.data.min_users",
        "users with fewer": "--config.data.min_likes",
    }
    if not likes_of(rows, config.like_at).all():
        lowest, highest = rows.rating.min(), rows.rating.max()
        remedies["users with no like"] = f"--config.data.like_at (ratings are {lowest:g}..{highest:g})"
    causes = [what for what, count in counts.items() if count]
    fitting = [remedy for begin, remedy in remedies.items() if any(one.startswith(begin) for one in causes)]
    look = ", ".join(fitting) if len(rows.user) and fitting else "the file of the interactions: it has no row"
    return InputError(
        f"{config.name}: no interaction is left after filtering (dropped: {reasons}); look at {look}"
    )


def _catalogue(items: Items, used: np.ndarray) -> tuple[Catalogue, int]:
    """Builds the catalogue of the used items.

    Args:
      items: items of the file.
      used: int [N], positions of the used items in the file, ascending.

    Returns:
      The catalogue, and how many titles were changed because several items share them.
    """
    category = np.asarray(items.category, np.int32)[used]
    names = [", ".join(items.category_names[c] for c in row if c) for row in category.reshape(len(used), -1)]
    details = [[column[index] for index in used] for column in items.details]
    numbers = [str(index + 1) for index in used]
    titles, renamed = tell_apart([items.titles[index] for index in used], [*details, names, numbers])
    catalogue = Catalogue(
        titles=("", *titles),
        category=np.concatenate([np.zeros_like(category[:1]), category]),
        category_names=tuple(items.category_names),
        text=None if items.text is None else ("", *(items.text[index] for index in used)),
    )
    return catalogue, renamed


def _interactions(
    rows: Rows, users: np.ndarray, items: np.ndarray, like_at: float, ordered: bool
) -> Interactions:
    """Replaces ids by their positions in ``users`` and ``items``, and groups the rows by user."""
    rows = rows.at(np.argsort(rows.user, kind="stable"))
    return Interactions(
        user=np.searchsorted(users, rows.user).astype(np.int32),
        item=(np.searchsorted(items, rows.item) + 1).astype(np.int32),
        like=likes_of(rows, like_at),
        rating=None if rows.rating is None else rows.rating.astype(np.float32),
        ordered=ordered,
        propensity=None if rows.propensity is None else rows.propensity.astype(np.float32),
    )

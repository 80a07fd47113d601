"""Tests how `assemble` filters rows, counts dropped rows, and renumbers users and items."""

from __future__ import annotations

import numpy as np
import pytest

from ialp_jax.data.assemble import Items, Rows, assemble, numbered
from ialp_jax.data.config import DataConfig
from ialp_jax.errors import InputError

USERS = 10


def items(count=6, untitled=()):
    titles = ["" if item in untitled else f"item {item}" for item in range(count)]
    return Items(
        titles, *numbered([f"genre {item % 2}" for item in range(count)]), [f"text {t}" for t in titles]
    )


def table(extra=()):
    """Ten users like items 1 and 3 and dislike item 5. The rows of ``extra`` follow."""
    rows = [(10 * user, item, stars) for user in range(USERS) for item, stars in ((3, 5), (1, 4), (5, 2))]
    user, item, rating = np.array([*rows, *extra]).T
    return Rows(user, item, rating.astype(float))


def make(rows, catalogue=None, ordered=True, random_test=None, **changes):
    config = DataConfig(**changes)
    return assemble(config, rows, catalogue or items(), ordered, random_test=random_test)


def test_users_and_items_are_renumbered_in_all_arrays():
    data = make(table()._replace(propensity=table().item / 10))
    assert data.num_users == USERS
    assert data.catalogue.titles == ("", "item 1", "item 3", "item 5")
    assert data.catalogue.text == ("", "text item 1", "text item 3", "text item 5")
    assert data.catalogue.category_names == ("", "genre 0", "genre 1")
    assert data.catalogue.category.tolist() == [0, 2, 2, 2]
    rows = data.interactions
    assert rows.user.tolist() == np.repeat(range(USERS), 3).tolist()
    assert rows.item[:3].tolist() == [2, 1, 3], "in the order of the file"
    assert rows.rating[:3].tolist() == [5, 4, 2]
    assert rows.like[:3].tolist() == [True, True, False]
    np.testing.assert_allclose(rows.propensity[:3], [0.3, 0.1, 0.5])
    assert rows.rating.dtype == rows.propensity.dtype == np.float32
    assert data.histories.of(4).tolist() == [2, 1], "only likes"


def test_without_ratings_every_row_is_a_like():
    data = make(table()._replace(rating=None))
    assert data.interactions.rating is None
    assert data.interactions.like.all()
    assert data.histories.of(0).tolist() == [2, 1, 3]


@pytest.mark.parametrize(("like_at", "likes"), [(2.0, 3), (4.0, 2)])
def test_like_at_changes_the_likes(like_at, likes):
    assert len(make(table(), like_at=like_at).histories.of(0)) == likes


def test_min_users_drops_items_and_is_off_by_default():
    rows = table([(0, 2, 5), (0, 4, 5), (10, 4, 1)])
    assert make(rows).catalogue.num_items == 5
    assert make(rows, min_users=2).catalogue.titles == ("", "item 1", "item 3", "item 4", "item 5")
    strict = make(rows, min_users=3)
    assert strict.catalogue.num_items == 3
    assert strict.dropped["rows of items with fewer than 3 users"] == 3
    assert make(rows).dropped["items with no user"] == 1
    usual = assemble(DataConfig(), rows, items(), True, usual_min_users=3)
    assert usual.catalogue.num_items == 3


def test_min_likes_drops_users_and_items_that_only_they_have():
    rows = table([(5, 2, 5), (5, 5, 1), (7, 5, 1)])
    data = make(rows)
    assert data.num_users == USERS
    assert data.dropped["users with fewer than 2 likes"] == 1
    assert data.dropped["users with no like left"] == 1
    assert data.dropped["rows of users with fewer than 2 likes"] == 3
    assert data.dropped["items whose users are all dropped"] == 1
    assert make(rows, min_likes=1).num_users == USERS + 1


def test_every_row_is_either_used_or_counted_as_dropped():
    rows = table([(0, 1, 4), (5, 2, 5), (0, 0, 5), (3, 4, 1), (10, 4, 5)])
    data = make(rows, items(untitled=(0,)), min_users=2)
    lost = sum(count for reason, count in data.dropped.items() if reason.startswith(("rows", "repeated")))
    assert len(data.interactions.item) + lost == len(rows.user)
    assert lost == 4


def test_repeated_rows_use_the_first_like_or_the_last_rating():
    rows = table([(0, 3, 1), (0, 0, 5)])
    rated = make(rows)
    assert rated.dropped["repeated rows of a user and an item"] == 1
    assert rated.catalogue.titles[1:] == ("item 0", "item 1", "item 3", "item 5")
    assert rated.histories.of(0).tolist() == [2, 1], "item 3 is no longer liked"
    implicit = make(rows._replace(rating=None))
    assert implicit.histories.of(0).tolist() == [3, 2, 4, 1]


def test_only_titles_shared_by_used_items_change():
    titles = ["Same", "Same", "same ", "Other", "\u200b", "SAME"]
    catalogue = items()._replace(titles=titles, details=[["x", "y", "x", "x", "x", "z"]])
    data = make(table(), catalogue)  # items 1, 3 and 5
    assert data.catalogue.titles == ("", "Same (y)", "Other", "SAME (z)")
    assert data.notes == {"shared titles made different": 2}
    assert data.dropped["items without a title"] == 1, "one without a visible character"
    assert make(table()).notes == {}


def test_random_test_ratings_are_renumbered_like_the_log():
    random_test = Rows(np.array([90, 0, 5, 10, 0]), np.array([5, 3, 3, 0, 1]), np.array([4.0, 3, 5, 5, 1]))
    data = make(table(), random_test=random_test)
    rows = data.random_test
    assert rows.user.tolist() == [0, 0, 9]
    assert rows.item.tolist() == [2, 1, 3]
    assert rows.rating.tolist() == [3, 1, 4]
    assert rows.like.tolist() == [False, False, True]
    assert rows.ordered is False
    assert data.dropped["random test ratings of dropped users or items"] == 2
    assert make(table()).random_test is None


@pytest.mark.parametrize(
    ("rows", "changes", "message", "remedy"),
    [
        (table(), {"like_at": 6.0}, "10 users with no like left", ".like_at (ratings are 2..5)"),
        (table(), {"min_users": 11, "like_at": 1}, "fewer than 11 users", "at --config.data.min_users"),
        (table(), {"min_likes": 3}, "fewer than 3 likes", "--config.data.min_likes"),
        (table().at(np.zeros(0, int)), {}, "6 items with no user", "it has no row"),
    ],
)
def test_error_of_an_empty_result_names_the_reason(rows, changes, message, remedy):
    with pytest.raises(InputError, match="no interaction is left after filtering") as caught:
        make(rows, **changes)
    assert message in str(caught.value)
    assert str(caught.value).endswith(remedy)
    assert "\n" not in str(caught.value)

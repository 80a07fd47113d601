"""Tests of splits, histories and windows; windows never include another user's likes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ialp_jax.data import splits
from ialp_jax.errors import InputError
from ialp_jax.types import Histories, Interactions

FRACTIONS = (0.5, 0.2, 0.1, 0.2)


def ragged(lists):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    return Histories(np.array([item for one in lists for item in one], np.int32), offsets)


def padded(likes, length):
    likes = likes[-length:]
    return [0] * (length - len(likes)) + likes


likes_of_users = st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=12), min_size=1, max_size=6)


def test_split_sizes_and_seed():
    split = splits.split_users(1000, FRACTIONS, seed=3)
    assert np.bincount(split).tolist() == [500, 200, 100, 200]
    assert np.array_equal(split, splits.split_users(1000, FRACTIONS, seed=3))
    other = splits.split_users(1000, FRACTIONS, seed=4)
    assert 0.2 < np.mean(split != other) < 0.9
    assert 0.3 < np.mean(split[:500] == 0) < 0.7, "the split must not follow the order of users"


@given(st.integers(20, 300), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_split_sizes_follow_the_shares(num_users, seed):
    sizes = np.bincount(splits.split_users(num_users, FRACTIONS, seed), minlength=4)
    assert sizes.sum() == num_users
    assert np.all(np.abs(sizes - np.array(FRACTIONS) * num_users) <= 1)


def test_empty_split_raises():
    with pytest.raises(InputError, match=r"--config\.data\.tuning"):
        splits.split_users(4, FRACTIONS, seed=0)


def test_histories_hold_likes_in_the_order_of_time():
    rows = Interactions(
        np.array([0, 0, 0, 2], np.int32),
        np.array([5, 3, 4, 1], np.int32),
        np.array([True, False, True, True]),
    )
    histories = splits.histories(rows, num_users=3, seed=0)
    assert [histories.of(user).tolist() for user in range(3)] == [[5, 4], [], [1]]
    assert histories.items.dtype == np.int32
    assert histories.offsets.dtype == np.int64


def test_unordered_histories_are_shuffled_per_user_by_seed():
    user = np.repeat(np.arange(3, dtype=np.int32), 40)
    item = np.tile(np.arange(1, 41, dtype=np.int32), 3)
    rows = Interactions(user, item, np.ones(120, bool), ordered=False)
    first, again, other = (splits.histories(rows, 3, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.items, again.items)
    assert not np.array_equal(first.items, other.items)
    assert not np.array_equal(first.of(0), first.of(1)), "each user has another random order"
    for one in range(3):
        assert sorted(first.of(one)) == list(range(1, 41))
        assert not np.array_equal(first.of(one), np.arange(1, 41))


def test_windows_match_a_hand_computed_example():
    histories = ragged([[7, 8], [1, 2, 3, 4], [9, 5]])
    cut = splits.windows(histories, np.array([1, 2]), length=2)
    assert cut.history.tolist() == [[0, 1], [1, 2], [2, 3], [0, 9]]
    assert cut.target.tolist() == [2, 3, 4, 5]
    assert cut.user.tolist() == [1, 1, 1, 2]
    assert {part.dtype for part in cut} == {np.dtype(np.int32)}


@given(likes_of_users, st.integers(1, 15))
@settings(max_examples=60, deadline=None)
def test_windows_are_the_likes_before_the_target(lists, length):
    cut = splits.windows(ragged(lists), np.arange(len(lists)), length)
    expected = [
        (padded(one[:place], length), one[place], user)
        for user, one in enumerate(lists)
        for place in range(1, len(one))
    ]
    rows = list(zip(cut.history.tolist(), cut.target.tolist(), cut.user.tolist(), strict=True))
    assert rows == expected


def test_windows_of_no_users_and_of_a_single_like():
    histories = ragged([[3], [1, 2]])
    assert splits.windows(histories, np.array([], int), 4).history.shape == (0, 4)
    assert splits.windows(histories, np.array([0]), 4).target.shape == (0,)


@given(likes_of_users, st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_start_histories_hold_at_most_half_of_the_likes(lists, length):
    starts = splits.start_histories(ragged(lists), length)
    assert starts.dtype == np.int32
    for start, likes in zip(starts.tolist(), lists, strict=True):
        known = max(1, min(length, len(likes) // 2))
        assert start == padded(likes[:known], length)
        assert known < len(likes)

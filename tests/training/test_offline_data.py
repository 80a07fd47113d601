import numpy as np
import pytest

from ialp_jax.data.splits import Windows, windows
from ialp_jax.training.offline import appended, logged_transitions, offline_windows, training_sequences
from ialp_jax.types import EVALUATION, OFFLINE, ONLINE, TUNING, Catalogue, Dataset, Histories, Interactions

LENGTH, HORIZON = 3, 4


def dataset(ordered):
    """Users 1 and 3 are offline. User u likes only items between 10 u + 1 and 10 u + 9."""
    likes = [[1, 2, 3], [11, 12, 13, 14, 15], [21, 22], [31, 32, 33], [41, 42, 43]]
    items = np.concatenate(likes).astype(np.int32)
    counts = [len(own) for own in likes]
    owner = np.repeat(np.arange(5, dtype=np.int32), counts)
    return Dataset(
        "tiny",
        Catalogue(("", *(f"item {n}" for n in range(1, 51))), np.zeros(51, np.int32), ("",)),
        Interactions(owner, items, np.ones(len(items), bool), ordered=ordered),
        Histories(items, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        np.array([EVALUATION, OFFLINE, ONLINE, OFFLINE, TUNING], np.int8),
        {},
    )


def test_only_offline_users_are_read():
    for ordered in (True, False):
        result = offline_windows(dataset(ordered), LENGTH, seed=0, copies=3)
        assert set(result.user) == {1, 3}
        items = set(np.unique(result.history)) | set(np.unique(result.target))
        assert items - {0} <= {*range(11, 16), *range(31, 34)}


def test_ordered_likes_are_used_once_and_as_they_are():
    result = offline_windows(dataset(True), LENGTH, seed=0, copies=3)
    assert result.target.tolist() == [12, 13, 14, 15, 32, 33]
    assert result.history[3].tolist() == [12, 13, 14]
    assert result.history[4].tolist() == [0, 0, 31]


def test_likes_without_order_are_used_in_several_orders():
    result = offline_windows(dataset(False), LENGTH, seed=0, copies=6)
    again = offline_windows(dataset(False), LENGTH, seed=0, copies=6)
    other = offline_windows(dataset(False), LENGTH, seed=1, copies=6)
    assert len(result.target) == 6 * 6
    np.testing.assert_array_equal(result.target, again.target)
    assert (result.target != other.target).any()
    copies = result.target.reshape(6, 6)
    assert len({tuple(row) for row in copies}) > 2
    for copy in range(6):  # each copy has the likes of a user in a new order
        first = result.history.reshape(6, 6, LENGTH)[copy, 0, -1]
        assert sorted([first, *copies[copy, :4]]) == [11, 12, 13, 14, 15]


def check_transitions(logged, result):
    count = len(logged.target)
    np.testing.assert_array_equal(result.action + 1, logged.target)
    np.testing.assert_array_equal(result.reward, np.ones(count))
    assert not result.truncated.any()
    np.testing.assert_array_equal(result.observation.history, logged.history)
    np.testing.assert_array_equal(result.observation.shown[:, :LENGTH], logged.history)
    assert (result.observation.shown[:, LENGTH:] == 0).all()
    assert result.next_observation.shown.shape == (count, LENGTH + HORIZON)
    np.testing.assert_array_equal(result.next_observation.shown[:, LENGTH], logged.target)
    np.testing.assert_array_equal(result.next_observation.history[:, :-1], logged.history[:, 1:])
    np.testing.assert_array_equal(result.next_observation.history[:, -1], logged.target)
    for row in np.flatnonzero(~result.terminated):
        np.testing.assert_array_equal(result.next_observation.history[row], logged.history[row + 1])


@pytest.mark.parametrize("ordered", [True, False])
def test_logged_transitions_end_with_their_user(ordered):
    logged = offline_windows(dataset(ordered), LENGTH, seed=0, copies=2)
    result = logged_transitions(logged, HORIZON)
    check_transitions(logged, result)
    ends = [False, False, False, True, False, True]
    assert result.terminated.tolist() == ends * (1 if ordered else 2)


def test_two_orders_of_the_same_user_are_two_sessions():
    own = windows(dataset(True).histories, np.array([1]), LENGTH)
    twice = Windows(*(np.concatenate([column, column]) for column in own))
    result = logged_transitions(twice, HORIZON)
    check_transitions(twice, result)
    assert result.terminated.tolist() == [False, False, False, True] * 2


def test_sequences_end_with_the_target():
    logged = offline_windows(dataset(True), LENGTH, seed=0)
    sequences = training_sequences(logged)
    assert sequences.dtype == np.int32
    assert sequences[-1].tolist() == [0, 31, 32, 33]
    assert appended(logged.history[:1], np.array([9])).tolist() == [[0, 11, 9]]

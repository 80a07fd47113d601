import numpy as np
from small_world import dataset, recipe
from test_tokens import TOKENS

from ialp_jax.data.splits import split_offline
from ialp_jax.llm.model import corpus
from ialp_jax.types import OFFLINE


def test_packing_by_hand():
    packed = corpus.pack(TOKENS, [np.array([1, 2]), np.array([3, 1])], context=8, padding=7)
    x = corpus.IGNORED
    assert packed.ids.tolist() == [[9, 11, 0, 12, 13, 0, 7, 7], [9, 14, 0, 11, 0, 7, 7, 7]]
    assert packed.position.tolist() == [[0, 1, 2, 3, 4, 5, 0, 0], [0, 1, 2, 3, 4, 0, 0, 0]]
    assert packed.target.tolist() == [[11, 0, 12, 13, 0, x, x, x], [14, 0, 11, 0, x, x, x, x]]


def test_a_history_continues_in_the_next_row_like_a_prompt():
    packed = corpus.pack(TOKENS, [np.array([3, 2]), np.array([1])], context=5, padding=7)
    assert packed.ids.tolist() == [[9, 14, 0, 7, 7], [9, 12, 13, 0, 7], [9, 11, 0, 7, 7]]


def test_segments_of_one_row_are_separate():
    packed = corpus.pack(TOKENS, [np.array([1]), np.array([3])], context=6, padding=7)
    x = corpus.IGNORED
    assert packed.ids.tolist() == [[9, 11, 0, 9, 14, 0]]
    assert packed.position.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert packed.target.tolist() == [[11, 0, x, 14, 0, x]]


def test_only_offline_users_are_read_and_some_are_held_out():
    data = dataset()
    users, held_out = split_offline(data, 0.1, seed=0)
    assert len(held_out) == 4
    assert sorted([*users, *held_out]) == data.users(OFFLINE).tolist()
    assert split_offline(data, 0.1, seed=1)[1].tolist() != held_out.tolist()
    assert [len(part) for part in split_offline(data, 0.001, seed=0)] == [39, 1]
    assert [len(part) for part in split_offline(data, 0.999, seed=0)] == [1, 39]


def _lines(data, index, seed=0, **knobs):
    tokens = corpus.TitleTokens(
        np.array([99]),
        np.arange(1, data.catalogue.num_items + 1),
        np.arange(-1, data.catalogue.num_items + 1),
    )
    tokens.offsets[0] = 0
    users, _ = split_offline(data, 0.1, 0)
    packed = corpus.epoch(tokens, data, users, recipe(context=10_000, **knobs), 0, seed=seed, index=index)
    text = packed.ids[0][packed.ids[0] > 0]
    return [tuple(part) for part in np.split(text, np.flatnonzero(text == 99)[1:])]


def test_unordered_histories_are_shuffled_again_in_each_epoch():
    data = dataset(ordered=False)
    first, second = _lines(data, 0), _lines(data, 1)
    assert first == _lines(data, 0)
    assert first != _lines(data, 0, seed=1)
    assert sorted(map(sorted, first)) == sorted(map(sorted, second))
    assert set(first).isdisjoint(second)


def test_ordered_histories_keep_their_order():
    data = dataset(ordered=True)
    first, second = _lines(data, 0), _lines(data, 1)
    assert first != second  # each epoch has a new order of users
    assert sorted(first) == sorted(second)


def test_a_share_of_the_ordered_histories_is_shuffled():
    data = dataset(ordered=True, num_users=400)
    plain = _lines(data, 0)
    shuffled = _lines(data, 0, shuffle=0.25)
    assert sorted(map(sorted, plain)) == sorted(map(sorted, shuffled))
    assert 0.15 < 1 - len(set(plain) & set(shuffled)) / len(set(plain)) < 0.35
    assert set(_lines(data, 0, shuffle=1.0)).isdisjoint(plain)
    assert set(_lines(data, 1, shuffle=1.0)).isdisjoint(_lines(data, 0, shuffle=1.0))


def test_other_items_are_dropped_in_each_epoch():
    data = dataset(ordered=True, num_users=400)
    plain, first, second = _lines(data, 0), _lines(data, 0, drop=0.3), _lines(data, 1, drop=0.3)
    share_kept = sum(map(len, first)) / sum(map(len, plain))
    assert 0.6 < share_kept < 0.8
    assert len(set(first) & set(plain)) < 0.15 * len(plain)
    assert first != second

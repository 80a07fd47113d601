import numpy as np
import pytest

from ialp_jax.llm.prompting import orders
from ialp_jax.types import Prompts

DIGESTS = orders.title_digests(["", "a", "b", "c", "d", "e"])


def test_seeds_depend_only_on_the_titles():
    prompts = Prompts(np.array([[1, 2], [2, 1], [0, 1]]), np.array([[3, 4], [3, 4], [4, 3]]))
    seeds = orders.seeds(DIGESTS, prompts)
    assert len(set(seeds)) == 3
    assert orders.seeds(DIGESTS, Prompts(np.array([[0, 0, 1]]), np.array([[4, 3]]))) == seeds[2:]
    moved = np.array([0, 5, 4, 3, 2, 1])  # the same titles under other ids
    assert orders.seeds(DIGESTS[moved], Prompts(moved[prompts.histories], moved[prompts.candidates])) == seeds


def test_orders_do_not_depend_on_the_batch():
    together = orders.draw([7, 8, 9], 5, 3)
    assert together.shape == (3, 3, 5)
    np.testing.assert_array_equal(orders.draw([9], 5, 3)[0], together[2])
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(orders.draw([7], 5, 3, attempt=1)[0], together[0])


@pytest.mark.parametrize(("count", "permutations"), [(5, 1), (5, 2), (5, 5), (4, 3), (3, 6), (1, 1), (2, 3)])
def test_orders_are_different_rotations(count, permutations):
    drawn = orders.draw([1], count, permutations)[0]
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.broadcast_to(np.arange(count), drawn.shape))
    for block in np.split(drawn, range(count, permutations, count)):
        assert len(np.unique(block, axis=0)) == len(block)
        for order in block:
            shift = int(np.flatnonzero(order == block[0, 0])[0])
            np.testing.assert_array_equal(np.roll(order, -shift), block[0])


def test_with_k_permutations_each_candidate_has_each_letter_once():
    drawn = orders.draw([3], 6, 6)[0]
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.broadcast_to(np.arange(6)[:, None], (6, 6)))


def test_further_permutations_are_new_draws():
    first, second = np.split(orders.draw([3], 6, 12)[0], 2)
    assert not {*map(tuple, first.tolist())} & {*map(tuple, second.tolist())}


def test_places_are_uniform_over_prompts():
    where = orders.draw(range(3000), 4, 1)[:, 0].argmin(axis=1)  # of candidate 0
    assert np.abs(np.bincount(where, minlength=4) / 3000 - 0.25).max() < 0.03


def test_order_bias_by_hand():
    places = np.array([[1, 1], [1, 2], [3, -2], [4, 0]], np.int8)  # line 4 is "none"
    bias = orders.order_bias(places, 3)
    np.testing.assert_allclose(bias["shares"], [0.6, 0.2, 0.2])
    np.testing.assert_allclose(bias["bias"], (0.6 - 1 / 3 + 2 * (1 / 3 - 0.2)) / 2)
    assert bias["answers"] == 5
    assert orders.order_bias(np.full((9, 1), 2), 4)["bias"] == 0.75
    assert orders.order_bias(np.zeros((2, 1), np.int8), 3) == {
        "bias": None,
        "by_chance": None,
        "answers": 0,
        "shares": None,
    }


def test_bias_by_chance_equals_that_of_unbiased_answers():
    generator = np.random.default_rng(0)
    bias = [orders.order_bias(generator.integers(1, 11, 400), 10) for _ in range(200)]
    np.testing.assert_allclose(np.mean([f["bias"] for f in bias]), bias[0]["by_chance"], rtol=0.05)

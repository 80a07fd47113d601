"""Choices from streamed items have the same distribution as those from an array of all logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sampling import DRAWS, rejected

from ialp_jax.agents import sampling, streaming
from ialp_jax.agents.base import News
from ialp_jax.agents.streaming import Factors, blocks_of, choose_streamed, everything_new, summaries
from ialp_jax.networks.heads import mask_shown

CHUNKS = (1, 60, 700, 2**19)  # table entries that are read at the same time: one block, some, all
USERS, HELD = 10, 6  # users, and items that can be shown to each of them


def with_padding(table, bias):
    """Factors of the items in ``table`` [N, D]."""
    return Factors(jnp.pad(jnp.asarray(table, jnp.float32), ((1, 0), (0, 0))), jnp.asarray(bias, jnp.float32))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_draws_follow_the_softmax_without_the_items_shown(chunk, monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", chunk)
    rng = np.random.default_rng(chunk)
    query, table = rng.normal(size=4).astype(np.float32), rng.normal(size=(37, 4)).astype(np.float32)
    bias = rng.normal(size=37).astype(np.float32)
    shown = np.array([0, 1, 8, 8, 37, 14])
    rows = [jnp.broadcast_to(jnp.asarray(row), (20_000, row.size)) for row in (query, shown)]
    factors = with_padding(table, bias)
    draw = jax.jit(lambda *rest: choose_streamed(*rest))  # a new function, so it is traced for each chunk
    drawn = draw(jax.random.key(chunk), rows[0], factors, rows[1])
    assert drawn.shape == (20_000, 1)
    assert drawn.dtype == jnp.int32
    weights = np.exp((query @ table.T + bias).astype(np.float64))
    weights[[0, 7, 36, 13]] = 0.0
    assert not rejected(np.bincount(np.asarray(drawn)[:, 0], minlength=37), weights / weights.sum())


def test_several_draws_are_those_of_candidates():
    """Draws three of eleven items without replacement. The full softmax gives the same frequencies."""
    rng = np.random.default_rng(0)
    query, table = rng.normal(size=3).astype(np.float32), rng.normal(size=(11, 3)).astype(np.float32)
    factors = with_padding(table, np.zeros(11))
    rows = jnp.broadcast_to(query, (DRAWS, 3))
    streamed = np.asarray(
        jax.jit(choose_streamed, static_argnums=4)(
            jax.random.key(1), rows, factors, jnp.full((DRAWS, 1), 5), 3
        )
    )
    logits = mask_shown(rows @ table.T, jnp.full((DRAWS, 1), 5))
    full = np.asarray(sampling.candidates(jax.random.key(2), logits, 3))
    assert all(len(set(row)) == 3 for row in streamed[:1000])
    assert 4 not in streamed
    for column in range(3):
        expected = np.bincount(full[:, column], minlength=11) + 0.0
        # Both are samples, so a test against the frequencies of the other may fail by their joint error.
        counts = np.bincount(streamed[:, column], minlength=11)
        difference = (counts - expected) ** 2 / np.maximum(counts + expected, 1)
        assert difference.sum() < 30  # the 99.9 % point of chi-square with 10 degrees of freedom


@pytest.mark.parametrize("num_items", [1, 2, 5, 37, 100, 1009])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_the_highest_logits_are_those_of_top_k_also_with_ties(num_items, chunk, monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", chunk)
    monkeypatch.setattr(streaming, "GROUP", 4)
    rng, users, count = np.random.default_rng(num_items), 6, min(4, num_items)
    query = jnp.asarray(rng.integers(-3, 4, (users, 4)), jnp.float32)  # sums of integers have no rounding
    table = jnp.asarray(rng.integers(-2, 3, (num_items, 4)), jnp.float32)
    bias = jnp.asarray(rng.integers(-1, 2, num_items), jnp.float32)
    shown = jnp.asarray(rng.integers(0, num_items + 1, (users, min(9, num_items))), jnp.int32)
    chosen = np.asarray(choose_streamed(None, query, with_padding(table, bias), shown, count))
    expected = np.asarray(jax.lax.top_k(mask_shown(query @ table.T + bias, shown), count)[1])
    for row, other, past in zip(chosen, expected, np.asarray(shown), strict=True):
        left = num_items - len(set(past) - {0})
        np.testing.assert_array_equal(row[:left], other[:left])


def test_rows_have_their_own_logits_and_shown_items():
    factors = with_padding(np.eye(12) * 200.0, np.zeros(12))
    best = jnp.arange(40) % 12
    query = jax.nn.one_hot(best, 12) + 0.5 * jax.nn.one_hot((best + 5) % 12, 12)
    drawn = choose_streamed(jax.random.key(0), query, factors, best[:, None] + 1)
    np.testing.assert_array_equal(drawn[:, 0], (best + 5) % 12)


def test_a_million_items_need_no_array_of_all_logits():
    users, num_items, width = 64, 1_000_000, 64
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in (
            ((users, width), jnp.float32),
            ((num_items + 1, width), jnp.float32),
            ((num_items,), jnp.float32),
            ((users, 60), jnp.int32),
        )
    ]

    def choose(query, table, bias, shown):
        return choose_streamed(jax.random.key(0), query, Factors(table, bias), shown)

    memory = jax.jit(choose).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 64 * 2**20  # all logits are 244 MiB


def random_step(rng, query, shown, num_items):
    """The queries, shown items and news after a step in which some users get a new query or a new session."""
    changed = rng.random(USERS) < 0.3
    after, new_query = shown.copy(), query.copy()
    new_query[changed] = rng.normal(size=(changed.sum(), query.shape[1]))
    for user in range(USERS):
        if changed[user] and rng.random() < 0.5:
            after[user] = 0
        elif (free := np.flatnonzero(after[user] == 0)).size and rng.random() < 0.7:
            after[user, free[0]] = rng.integers(1, num_items + 1)
    news = News(jnp.asarray(after), jnp.asarray(changed), jnp.asarray(changed[:, None] | (after != shown)))
    return new_query, after, news


def expected_summaries(logits, shown, size, greedy):
    """The number of each block for each user, in float64."""
    numbers = []
    for row, past in zip(logits.astype(np.float64), shown, strict=True):
        row[past[past > 0] - 1] = -1e9
        blocks = [row[start : start + size] for start in range(0, len(row), size)]
        numbers.append([b.max() if greedy else np.logaddexp.reduce(b) for b in blocks])
    return np.array(numbers)


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize(("num_items", "chunk"), [(37, 1), (100, 80), (1009, 2**19)])
def test_kept_numbers_have_the_bits_of_new_numbers(num_items, chunk, greedy, monkeypatch):
    """Users get new queries, items and sessions in random order."""
    monkeypatch.setattr(streaming, "CHUNK", chunk)
    monkeypatch.setattr(streaming, "GROUP", 4)
    monkeypatch.setattr(streaming, "GATHERED", 300)
    rng = np.random.default_rng(num_items)
    table, bias = rng.normal(size=(num_items, 4)), rng.normal(size=num_items)
    factors, size = with_padding(table, bias), blocks_of(num_items).size
    query = rng.normal(size=(USERS, 4)).astype(np.float32)
    shown = rng.integers(0, num_items + 1, (USERS, HELD)).astype(np.int32)
    refresh = jax.jit(summaries, static_argnums=3)
    choose = jax.jit(choose_streamed, static_argnums=4)
    kept = refresh(query, factors, everything_new(shown), greedy, None)
    for step in range(40):
        query, shown, news = random_step(rng, query, shown, num_items)
        kept = refresh(query, factors, news, greedy, kept)
        fresh = refresh(query, factors, everything_new(shown), greedy, None)
        assert np.asarray(kept).tobytes() == np.asarray(fresh).tobytes()
        expected = expected_summaries(query @ table.T + bias, shown, size, greedy)
        np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-4)
        key = None if greedy else jax.random.key(step)
        np.testing.assert_array_equal(
            choose(key, query, factors, shown, 3, kept), choose(key, query, factors, shown, 3)
        )


@pytest.mark.parametrize("changed", [0, 1, 4, 5, USERS])
def test_a_pass_over_the_items_is_made_only_for_groups_of_changed_users(changed, monkeypatch):
    """Counts the products: one per group of 4 users and chunk, and one per newly shown item."""
    calls, summary = [], streaming._summary

    def counted(logits, greedy):
        jax.debug.callback(lambda _: calls.append(logits.shape[-1]), logits.ravel()[0])
        return summary(logits, greedy)

    monkeypatch.setattr(streaming, "_summary", counted)
    monkeypatch.setattr(streaming, "GROUP", 4)
    monkeypatch.setattr(streaming, "CHUNK", 80)  # two blocks of ten items
    monkeypatch.setattr(streaming, "GATHERED", 40)  # one block
    rng = np.random.default_rng(changed)
    factors = with_padding(rng.normal(size=(100, 4)), np.zeros(100))
    query, is_changed = rng.normal(size=(USERS, 4)).astype(np.float32), np.arange(USERS) < changed
    new = np.zeros((USERS, HELD), bool)
    new[-2:, 0] = True
    news = News(jnp.full((USERS, HELD), 7), jnp.asarray(is_changed), jnp.asarray(new))
    before = jnp.full((USERS, 10), 5.0)
    run = jax.jit(lambda *rest: summaries(*rest, False, before))  # a new function, so it is traced again
    after = np.asarray(run(query, factors, news))
    jax.effects_barrier()
    assert calls.count(4) == 5 * -(-changed // 4)
    assert calls.count(1) == 2
    assert ((after != 5.0).sum(1) == np.where(is_changed, 10, new.sum(1))).all()

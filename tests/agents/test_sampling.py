import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ialp_jax.agents import sampling
from ialp_jax.networks.heads import MASKED

DRAWS = 100_000


def rejected(counts, probability):
    """Whether a chi-square test at the 0.1 % level rejects the probabilities, given the counts."""
    assert counts[probability == 0].sum() == 0
    possible = probability > 0
    expected = counts.sum() * probability[possible] / probability[possible].sum()
    return stats.chisquare(counts[possible], expected).pvalue < 1e-3


@pytest.mark.parametrize("num_items", [1, 2, 3, 37, 144])
def test_sample_follows_the_softmax(num_items):
    logits = np.random.default_rng(num_items).normal(size=num_items).astype(np.float32)
    logits[1::5] = MASKED
    rows = jnp.broadcast_to(jnp.asarray(logits + 7.0), (10, DRAWS // 10, num_items))
    drawn = jax.jit(sampling.sample)(jax.random.key(num_items), rows)
    assert drawn.shape == (10, DRAWS // 10)
    assert drawn.dtype == jnp.int32
    weights = np.exp(np.where(logits == MASKED, -np.inf, logits).astype(np.float64))
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=num_items)
    assert not rejected(counts, weights / weights.sum())


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.3, 0.9, 1.0])
def test_a_mixture_is_drawn_by_its_share_and_at_the_ends_as_its_part_is(share):
    numbers = np.random.default_rng(7)
    first, second = (numbers.normal(size=23).astype(np.float32) * 2 for _ in range(2))
    first[::3], second[1::4] = MASKED, MASKED
    rows = [jnp.broadcast_to(jnp.asarray(part), (DRAWS, 23)) for part in (first, second)]
    key = jax.random.key(3)
    drawn = np.asarray(jax.jit(sampling.sample_mixture)(key, *rows, jnp.float32(share)))
    if share in (0.0, 1.0):
        np.testing.assert_array_equal(drawn, sampling.sample(key, rows[int(share)]))
    parts = [np.exp(np.where(part == MASKED, -np.inf, part).astype(np.float64)) for part in (first, second)]
    expected = (1 - share) * parts[0] / parts[0].sum() + share * parts[1] / parts[1].sum()
    assert not rejected(np.bincount(drawn, minlength=23), expected)


def test_rows_have_their_own_logits_and_their_own_chance():
    only = jnp.arange(40) % 13
    logits = jnp.full((40, 13), MASKED).at[jnp.arange(40), only].set(0.3)
    np.testing.assert_array_equal(sampling.sample(jax.random.key(0), logits), only)
    flat = sampling.sample(jax.random.key(0), jnp.zeros((1000, 200)))
    assert len(np.unique(flat)) > 150


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_the_ends_of_the_unit_interval_never_hit_a_masked_item(uniform, monkeypatch):
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape=(), *rest: jnp.full(shape, uniform))
    for allowed in ([4], [0, 9], [3, 5, 11], [12, 13]):
        logits = jnp.full(14, MASKED).at[jnp.array(allowed)].set(jnp.arange(len(allowed)) * 1.0)
        assert int(sampling.sample(jax.random.key(0), logits)) in allowed


@pytest.mark.parametrize("seed", range(3))
def test_no_masked_item_in_a_catalogue_where_float32_sums_lose_their_order(seed):
    num_items = 300_000
    allowed = np.random.default_rng(seed).random(num_items) < 0.5
    logits = jnp.where(jnp.asarray(allowed), 0.0, MASKED)
    drawn = np.asarray(sampling.sample(jax.random.key(seed), jnp.broadcast_to(logits, (200, num_items))))
    assert allowed[drawn].all()
    assert len(np.unique(drawn)) > 150


def test_very_different_logits_do_not_overflow():
    logits = jnp.array([1e4, 0.0, -1e4, 1e4])
    drawn = sampling.sample(jax.random.key(0), jnp.tile(logits, (1000, 1)))
    assert set(np.unique(drawn)) == {0, 3}


def test_candidates_are_drawn_one_after_the_other_without_replacement():
    probability = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    logits = jnp.asarray(np.log(np.maximum(probability, 1e-30)), jnp.float32).at[4].set(MASKED)
    drawn = np.asarray(sampling.candidates(jax.random.key(1), jnp.tile(logits, (DRAWS, 1)), 2))
    pairs = np.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25)
    expected = np.array(
        [
            probability[i] * probability[j] / (1 - probability[i]) if i != j else 0.0
            for i in range(5)
            for j in range(5)
        ]
    )
    assert not rejected(pairs, expected)


def test_candidates_are_distinct_and_all_there():
    drawn = np.asarray(sampling.candidates(jax.random.key(0), jnp.zeros((50, 3, 6)), 6))
    assert drawn.shape == (50, 3, 6)
    np.testing.assert_array_equal(np.sort(drawn, -1), np.broadcast_to(np.arange(6), drawn.shape))


@pytest.mark.parametrize(("num_items", "size"), [(3000, 60), (144, 12), (1, 1), (37, 6), (1_000_000, 1000)])
def test_blocks_divide_the_catalogue_where_they_can(num_items, size):
    assert sampling.block_size(num_items) == size


def test_uniform_unseen_is_even_over_what_is_left():
    shown = jnp.tile(jnp.array([0, 3, 12, 3, 0, 1, 1, 7]), (DRAWS, 1))
    drawn = np.asarray(jax.jit(sampling.uniform_unseen, static_argnums=2)(jax.random.key(0), shown, 12))
    probability = np.ones(12)
    probability[[2, 11, 0, 6]] = 0.0
    assert not rejected(np.bincount(drawn, minlength=12), probability / 8)


def test_uniform_unseen_with_nothing_and_with_everything_shown():
    nothing = sampling.uniform_unseen(jax.random.key(0), jnp.zeros((5000, 4), jnp.int32), 3)
    assert not rejected(np.bincount(np.asarray(nothing), minlength=3), np.ones(3) / 3)
    everything = np.asarray(
        sampling.uniform_unseen(jax.random.key(0), jnp.tile(jnp.array([2, 1, 3]), (50, 1)), 3)
    )
    assert set(np.unique(everything)) <= {0, 1, 2}
    last = sampling.uniform_unseen(jax.random.key(0), jnp.tile(jnp.array([2, 1, 0]), (50, 1)), 3)
    assert set(np.unique(last)) == {2}

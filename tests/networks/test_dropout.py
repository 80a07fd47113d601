"""Entries are dropped at the rate that was asked for, each by its own draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.networks.dropout import Dropout

SHAPE = (400, 251)  # no multiple of the four entries that share a word


def dropped(rate, key, x=None, deterministic=False):
    x = jnp.ones(SHAPE) if x is None else x
    return Dropout(rate).apply({}, x, deterministic, rngs={"dropout": jax.random.key(key)})


@pytest.mark.parametrize("rate", [1 / 256, 0.2, 0.5, 255 / 256])
def test_the_rate_acts_and_the_mean_stays(rate):
    found = np.asarray(dropped(rate, 0))
    acting = round(256 * rate) / 256
    error = np.sqrt(acting * (1 - acting) / found.size)
    assert abs(np.mean(found == 0) - acting) < 4 * error
    np.testing.assert_allclose(found[found > 0], 1 / (1 - acting), rtol=1e-6)


def test_entries_and_calls_have_draws_of_their_own():
    gone = np.asarray(dropped(0.5, 0) == 0)
    again = np.asarray(dropped(0.5, 1) == 0)
    for other in (again, np.roll(gone, 1, 0), *(np.roll(gone, shift, 1) for shift in (1, 2, 3, 4))):
        assert abs(np.mean(gone == other) - 0.5) < 4 * 0.5 / np.sqrt(gone.size)
    np.testing.assert_array_equal(gone, np.asarray(dropped(0.5, 0) == 0))


def test_nothing_happens_without_a_rate_or_chance():
    x = jnp.arange(7.0)
    np.testing.assert_array_equal(dropped(0.0, 0, x), x)
    np.testing.assert_array_equal(dropped(0.9, 0, x, deterministic=True), x)


def test_gradients_flow_through_what_is_kept():
    x = jnp.arange(1.0, 101.0)
    gradient = jax.grad(lambda x: jnp.sum(dropped(0.25, 3, x)))(x)
    np.testing.assert_allclose(gradient * x, dropped(0.25, 3, x), rtol=1e-6)


def test_seeds_together_draw_what_each_draws_alone():
    keys = jax.random.split(jax.random.key(0), 3)
    run = lambda key: Dropout(0.2).apply({}, jnp.ones(10), False, rngs={"dropout": key})  # noqa: E731
    np.testing.assert_array_equal(jax.vmap(run)(keys), jnp.stack([run(key) for key in keys]))

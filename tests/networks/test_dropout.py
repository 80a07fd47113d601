"""Dropout sets entries to 0 at the given rate, and draws for each entry independently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.networks.dropout import Dropout

SHAPE = (400, 251)  # 4 entries share a random word; the row length is not a multiple of 4


def dropped(rate, key, x=None, deterministic=False):
    x = jnp.ones(SHAPE) if x is None else x
    return Dropout(rate).apply({}, x, deterministic, rngs={"dropout": jax.random.key(key)})


@pytest.mark.parametrize("rate", [1 / 256, 0.2, 0.5, 255 / 256])
def test_share_of_zeros_is_the_rate_and_the_mean_stays(rate):
    output = np.asarray(dropped(rate, 0))
    rounded = round(256 * rate) / 256
    error = np.sqrt(rounded * (1 - rounded) / output.size)
    assert abs(np.mean(output == 0) - rounded) < 4 * error
    np.testing.assert_allclose(output[output > 0], 1 / (1 - rounded), rtol=1e-6)


def test_entries_and_calls_are_drawn_independently():
    zeros = np.asarray(dropped(0.5, 0) == 0)
    again = np.asarray(dropped(0.5, 1) == 0)
    for other in (again, np.roll(zeros, 1, 0), *(np.roll(zeros, shift, 1) for shift in (1, 2, 3, 4))):
        assert abs(np.mean(zeros == other) - 0.5) < 4 * 0.5 / np.sqrt(zeros.size)
    np.testing.assert_array_equal(zeros, np.asarray(dropped(0.5, 0) == 0))


def test_input_is_unchanged_at_rate_0_and_if_deterministic():
    x = jnp.arange(7.0)
    np.testing.assert_array_equal(dropped(0.0, 0, x), x)
    np.testing.assert_array_equal(dropped(0.9, 0, x, deterministic=True), x)


def test_gradients_flow_through_the_other_entries():
    x = jnp.arange(1.0, 101.0)
    gradient = jax.grad(lambda x: jnp.sum(dropped(0.25, 3, x)))(x)
    np.testing.assert_allclose(gradient * x, dropped(0.25, 3, x), rtol=1e-6)


def test_vmapped_seeds_draw_the_same_as_single_seeds():
    keys = jax.random.split(jax.random.key(0), 3)
    run = lambda key: Dropout(0.2).apply({}, jnp.ones(10), False, rngs={"dropout": key})  # noqa: E731
    np.testing.assert_array_equal(jax.vmap(run)(keys), jnp.stack([run(key) for key in keys]))

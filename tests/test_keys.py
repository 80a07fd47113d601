"""Key streams differ by purpose and index, and are the same in every process."""

from __future__ import annotations

import itertools
import subprocess
import sys

import jax
import numpy as np

from ialp_jax.keys import generator, stream, unit, words


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_keys_differ_by_purpose_and_index():
    root = jax.random.key(0)
    purposes = ("init", "act", "user", "learn", "evaluate", "label", "pretrain", "adapt", "references")
    streams = {bits(stream(root, p, i)) for p, i in itertools.product(purposes, range(50))}
    assert len(streams) == len(purposes) * 50
    assert bits(root) not in streams


def test_stream_is_the_same_in_every_process():
    code = (
        "import jax; from ialp_jax.keys import stream; "
        "print(jax.random.key_data(stream(jax.random.key(3), 'act', 2)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(jax.random.key_data(stream(jax.random.key(3), "act", 2)))


def test_stream_accepts_a_traced_index():
    root = jax.random.key(1)
    traced = jax.vmap(lambda n: jax.random.key_data(stream(root, "learn", n)))(np.arange(3))
    assert [tuple(row) for row in np.asarray(traced).tolist()] == [
        bits(stream(root, "learn", n)) for n in range(3)
    ]


def test_numpy_generators_differ_by_seed_purpose_and_index():
    draws = [generator(*args).random() for args in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1))]
    assert len(set(draws)) == 4
    assert generator(0, "a").random() == draws[0]


def test_words_are_uniform_and_independent_of_each_other_and_of_the_streams_of_a_key():
    keys = jax.random.split(jax.random.key(5), 40_000)
    first, second = (np.asarray(unit(word)) for word in jax.vmap(lambda key: words(key, "step"))(keys))
    draws = [first, second, np.asarray(unit(jax.vmap(lambda key: words(key, "other"))(keys)[0]))]
    for purpose in ("dislike", "drift", "return"):
        draws.append(jax.vmap(lambda key, purpose=purpose: jax.random.uniform(stream(key, purpose)))(keys))
    for draw in draws:
        assert 0 <= np.min(draw) < np.max(draw) < 1
        cells = np.bincount((np.asarray(draw) * 100).astype(int), minlength=100)
        assert np.sum((cells - 400) ** 2 / 400) < 160  # chi-square with 99 degrees of freedom, p = 1e-4
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(keys))


def test_unit_keeps_24_bits_and_stays_below_one():
    numbers = np.asarray(unit(jax.numpy.array([0, 255, 256, 2**31, 2**32 - 1], jax.numpy.uint32)))
    np.testing.assert_array_equal(numbers, [0.0, 0.0, 2.0**-24, 0.5, 1 - 2.0**-24])

"""Key streams differ by purpose and index, and are the same in every process."""

from __future__ import annotations

import itertools
import subprocess
import sys

import jax
import numpy as np

from ialp_jax.keys import generator, stream


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

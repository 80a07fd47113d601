"""Measures a training step of SASRec as published, with one negative item per position."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.rows import Row, peak_memory
from experiments.benchmarks.timing import compiled, medians
from ialp_jax.agents.base import Params, adam
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.sasrec import SASRec
from ialp_jax.types import Array, Key

ITEMS = 3_000
State = tuple[Params, optax.OptState]


def training_step(case: str, batch: int, length: int, width: int) -> list[Row]:
    """Measures a step with binary cross-entropy on the next item and one uniform negative per position.

    The encoder has two blocks, one head and dropout 0.2; the optimiser is Adam. Source: Kang and McAuley,
    ICDM 2018, section III.E.
    """
    network = SASRec(ITEMS, length, NetworkConfig(width=width, blocks=2, heads=1, dropout=0.2))
    draw = np.random.default_rng(0)
    history, positive, negative = (
        jnp.asarray(draw.integers(1, ITEMS + 1, (batch, length)), jnp.int32) for _ in range(3)
    )
    params = jax.jit(network.init)(jax.random.key(0), history)
    optimiser = adam(1e-3)

    def loss(params: Params, key: Key) -> Array:
        states = network.apply(params, history, last_only=False, deterministic=False, rngs={"dropout": key})
        table = params["params"]["items"]["embedding"]
        one, zero = (jnp.sum(states * table[items], -1) for items in (positive, negative))
        return jnp.mean(
            optax.sigmoid_binary_cross_entropy(one, 1.0) + optax.sigmoid_binary_cross_entropy(zero, 0.0)
        )

    def loop(steps: Array, params: Params, opt_state: optax.OptState, key: Key) -> State:
        def step(number: Array, carry: State) -> State:
            params, opt_state = carry
            gradient = jax.grad(loss)(params, jax.random.fold_in(key, number))
            changes, opt_state = optimiser.update(gradient, opt_state, params)
            return optax.apply_updates(params, changes), opt_state

        return jax.lax.fori_loop(0, steps, step, (params, opt_state))

    program = compiled(loop, params, optimiser.init(params), jax.random.key(1))
    (seconds,) = medians([program], seconds=1.0)
    return [
        Row(case, "seconds", seconds, "s"),
        Row(case, "rows_per_second", batch / seconds, "rows/s"),
        Row(case, "compile_seconds", program.compile_seconds, "s"),
        Row(case, "peak_memory", peak_memory(), "MiB"),
    ]

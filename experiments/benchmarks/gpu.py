"""Measures matrix products, learning and idle time on a GPU; each case takes well under a minute there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.rows import Row
from experiments.benchmarks.simulator import SIZE
from experiments.benchmarks.timing import Program, called, compiled, medians
from experiments.benchmarks.training import begin, coat, learning
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.base import Agent
from ialp_jax.agents.config import A2CConfig
from ialp_jax.networks.heads import ActorCritic
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import OnlineTask, adapt
from ialp_jax.training.config import AdaptConfig, EvaluationConfig
from ialp_jax.training.loop import NO_HOOKS
from ialp_jax.training.seeds import over_seeds
from ialp_jax.types import EVALUATION, ONLINE, Array

ROLLOUT, MATRIX = 5, 8192
KINDS = {  # name -> dtype and precision of a product; JAX's default for float32 on a GPU is TF32
    "bfloat16": ("bfloat16", "default"),
    "tf32": ("float32", "default"),
    "float32": ("float32", "highest"),
}
SECONDS, REPEATS = 0.25, 5


def matrix_rates(case: str, size: int = MATRIX) -> list[Row]:
    """Measures products of square matrices in bfloat16, in JAX's default for float32, and in full float32."""
    draw = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32) / size**0.5

    def program(dtype: str, precision: str) -> Program:
        def loop(steps: Array, matrix: Array) -> Array:
            return jax.lax.fori_loop(
                0, steps, lambda _, product: jnp.matmul(product, matrix, precision=precision), matrix
            )

        return compiled(loop, jnp.asarray(draw, dtype))

    seconds = medians([program(*kind) for kind in KINDS.values()], SECONDS, REPEATS)
    return [
        Row(case, f"rate_{name}", 2 * size**3 / each / 1e12, "TFLOP/s")
        for name, each in zip(KINDS, seconds, strict=True)
    ]


def agent_of(world: World, users: int) -> Agent:
    """A2C with D = 64, 2 blocks and B users."""
    items = world.params.user_model.item_bias.shape[0] - 1
    length = world.env.reset(jax.random.key(0), world.params)[0].history.shape[0]
    return a2c(A2CConfig(num_users=users, rollout_length=ROLLOUT), ActorCritic(items, length, SIZE))


def learn(case: str, users: int, seeds: int) -> list[Row]:
    """Measures A2C on Coat, all seeds side by side; several seeds are compared with one."""
    world = coat()
    agent = agent_of(world, users)
    keys = jax.random.split(jax.random.key(0), seeds)
    start = jax.jit(jax.vmap(lambda key: begin(world, agent, key)))(keys)
    loop = over_seeds(learning(world, agent), "vmap", shared=2)

    def program(count: int) -> Program:
        arguments = jax.tree.map(lambda leaf: leaf[:count], (start, keys))
        return called(loop, world.of(ONLINE), *arguments)

    programs = [program(count) for count in dict.fromkeys((seeds, 1))]
    together, *one = medians(programs, SECONDS, REPEATS)
    rate = seeds * users * ROLLOUT / together
    rows = [
        Row(
            case,
            "interactions_per_second",
            rate,
            "steps/s",
            "one_seed" if one else "",
            *(rate / (users * ROLLOUT / seconds) for seconds in one),
        ),
        Row(case, "milliseconds_per_update", 1e3 * together, "ms"),
        Row(case, "compile_seconds", programs[0].compile_seconds, "s"),
    ]
    stats = jax.devices()[0].memory_stats()  # None on a CPU
    return rows + (
        [Row(case, "peak_device_memory", stats["peak_bytes_in_use"] / 2**20, "MiB")] if stats else []
    )


def busy(case: str, users: int, env_steps: int) -> list[Row]:
    """Measures the share of time in which the GPU computes during an adaptation of A2C on Coat.

    The adaptation runs twice, and only the second run counts, because the first one compiles. The second run
    takes the programs from the compilation cache, which `experiments.benchmark` provides.
    """
    world = coat()
    agent = agent_of(world, users)
    config, evaluation = (
        AdaptConfig(env_steps=env_steps, seeds_by="vmap"),
        EvaluationConfig(ends=256, points=2),
    )
    task = OnlineTask(
        world.env, world.of(ONLINE), world.of(EVALUATION), jax.random.key(0), 1, config, evaluation
    )
    adapt(task, agent, hooks=NO_HOOKS)
    with gpu_samples() as samples:
        began = time.perf_counter()
        adapt(task, agent, hooks=NO_HOOKS)
        seconds = time.perf_counter() - began
    rate = Row(case, "interactions_per_second", env_steps / seconds, "steps/s")
    return [rate, Row(case, "device_share_busy", float(np.mean(samples)) / 100, "")]


@contextlib.contextmanager
def gpu_samples() -> Iterator[list[float]]:
    """Collects how busy the GPU is, in percent, several times per second; filled when the context ends.

    Raises:
      RuntimeError: nvidia-smi gives no numbers.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    which = [f"--id={chosen}"] if chosen else []
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    samples: list[float] = []
    with subprocess.Popen(["nvidia-smi", *which, *query], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield samples
        finally:
            process.terminate()
            lines = process.communicate()[0].splitlines()
    # The first line may describe the time before this context. With several GPUs, JAX uses the first one.
    samples += [float(line) for line in lines[1:] if line.strip().isdigit()]
    if not samples:
        raise RuntimeError("nvidia-smi gives no utilisation of the GPU")

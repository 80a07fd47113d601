"""The simulator's speed and size, against CartPole and against a naive actor loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.environment import Environment

from experiments.benchmarks.rows import Row, peak_memory
from experiments.benchmarks.timing import Program, compiled, medians
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.config import A2CConfig
from ialp_jax.keys import stream
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.simulator.world import World, build
from ialp_jax.types import (
    SPLITS,
    Array,
    Catalogue,
    Dataset,
    Histories,
    Interactions,
    Key,
    Observation,
    UserModel,
)

WORLD_USERS, FACTORS, KNOTS = 2_000, 16, 30
NAIVE_ITEMS, NAIVE_USERS = 3_000, 1_024  # the most that the naive loop is measured with
SIZE = NetworkConfig(width=64, blocks=2, heads=2)

Act = Callable[[Any, Any, Key], Array]  # parameters, observation of B users, key -> int32 [B]


def world(items: int) -> World:
    """A made-up world of N items in which about one item in ten is liked; all knobs off."""
    draw = np.random.default_rng(0)
    likes = draw.integers(1, items + 1, 40 * WORLD_USERS, dtype=np.int32)
    owner = np.repeat(np.arange(WORLD_USERS, dtype=np.int32), 40)
    dataset = Dataset(
        "made-up",
        Catalogue(("",) * (items + 1), np.zeros(items + 1, np.int32), ("",)),
        Interactions(owner, likes, np.ones(len(likes), bool)),
        Histories(likes, np.arange(0, len(likes) + 1, 40)),
        (np.arange(WORLD_USERS) % len(SPLITS)).astype(np.int8),
        {},
    )
    model = UserModel(
        draw.normal(size=(WORLD_USERS, FACTORS)).astype(np.float32) / FACTORS**0.5,
        draw.normal(size=(items + 1, FACTORS)).astype(np.float32),
        np.zeros(items + 1, np.float32),
        np.linspace(-3, 3, KNOTS, dtype=np.float32),
        np.linspace(-6, 1.5, KNOTS, dtype=np.float32),
    )
    return build(dataset, model, SimulatorConfig())


def program(env: Environment, env_params: Any, act: Act, params: Any, users: int) -> Program:
    """B users who act and are answered; rewards are summed up, so that no answer is left out."""

    def loop(steps: Array, env_params: Any, params: Any, start: tuple[Any, ...], key: Key) -> Any:
        def step(number: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            observation, state, total = carry
            act_key, user_key = jax.random.split(jax.random.fold_in(key, number))
            action = act(params, observation, act_key)
            observation, state, reward, *_ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                jax.random.split(user_key, users), state, action, env_params
            )
            return observation, state, total + reward

        return jax.lax.fori_loop(0, steps, step, start)

    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    start = (*reset(jax.random.split(jax.random.key(1), users), env_params), jnp.zeros(users))
    return compiled(loop, env_params, params, start, jax.random.key(2))


def uniform(actions: int, users: int) -> Act:
    """Any action for each user, shown before or not."""
    return lambda params, observation, key: jax.random.randint(key, (users,), 0, actions)


def cartpole(users: int) -> Program:
    """CartPole of gymnax with random actions."""
    env = CartPole()
    return program(env, env.default_params, uniform(2, users), None, users)


def rows(
    case: str, users: int, ours: Program, memory: float, baseline: str, other: Callable[[], Program] | None
) -> list[Row]:
    """Speed, compile time and memory of ``ours``; ``other`` is compiled only now, outside that memory."""
    stats = jax.devices()[0].memory_stats()  # of a GPU; the CPU has none
    rivals = [] if other is None else [other()]
    seconds, *reference = medians([ours, *rivals])
    found = [
        Row(
            case,
            "env_steps_per_second",
            users / seconds,
            "steps/s",
            baseline,
            *(r / seconds for r in reference),
        ),
        Row(case, "compile_seconds", ours.compile_seconds, "s"),
        Row(case, "peak_memory", memory, "MiB"),
    ]
    if stats:
        found.append(Row(case, "peak_device_memory", stats["peak_bytes_in_use"] / 2**20, "MiB"))
    found += [Row(case, f"{baseline}_steps_per_second", users / r, "steps/s") for r in reference]
    return found


def random_actions(case: str, users: int, items: int) -> list[Row]:
    """Random actions, against CartPole with as many users."""
    here = world(items)
    ours = program(here.env, here.params, uniform(items, users), None, users)
    return rows(case, users, ours, peak_memory(), "cartpole", lambda: cartpole(users))


class NaiveActor(nn.Module):
    """The same actor as one writes it first: Flax's own attention, over the whole sequence in every block."""

    num_items: int

    @nn.compact
    def __call__(self, history: Array) -> Array:
        """Maps int32 [B, L] to logits [B, N]."""
        items = nn.Embed(self.num_items + 1, SIZE.width)
        positions = self.param("positions", nn.initializers.normal(0.02), (history.shape[-1], SIZE.width))
        x = items(history) * SIZE.width**0.5 + positions
        mask = nn.combine_masks(
            nn.make_causal_mask(history), nn.make_attention_mask(history > 0, history > 0)
        )
        for _ in range(SIZE.blocks):
            x += nn.MultiHeadDotProductAttention(SIZE.heads)(nn.LayerNorm()(x), mask=mask)
            x += nn.Dense(SIZE.width)(nn.relu(nn.Dense(SIZE.width)(nn.LayerNorm()(x))))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.num_items,))
        return nn.Dense(SIZE.width)(nn.LayerNorm()(x)[:, -1]) @ items.embedding[1:].T + bias


def actor(case: str, users: int, items: int) -> list[Row]:
    """A SASRec actor in the loop, against the naive one, or in huge catalogues against no streaming."""
    here = world(items)
    observation, _ = here.env.reset(jax.random.key(0), here.params)
    length = observation.history.shape[0]
    agent = a2c(A2CConfig(), ActorCritic(items, length, SIZE))
    state = agent.init(stream(jax.random.key(0), "init"), observation, None)

    def act(state: Any, observation: Observation, key: Key) -> Array:
        return agent.act(state, observation, key)[0]

    def naive() -> Program:
        network = NaiveActor(items)
        params = network.init(jax.random.key(0), observation.history[None])

        def act(params: Any, observation: Observation, key: Key) -> Array:
            logits = network.apply(params, observation.history)
            return jax.random.categorical(key, mask_shown(logits, observation.shown))

        return program(here.env, here.params, act, params, users)

    ours = program(here.env, here.params, act, state, users)
    measured = items <= NAIVE_ITEMS and users <= NAIVE_USERS
    return rows(case, users, ours, peak_memory(), "naive" if measured else "", naive if measured else None)


def yardsticks(case: str) -> list[Row]:
    """The rate of float32 matrix products, 2,048 in each dimension."""
    size = 2048
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)) / size**0.5, jnp.float32)

    def loop(steps: Array, matrix: Array) -> Array:
        return jax.lax.fori_loop(0, steps, lambda _, product: product @ matrix, matrix)

    (seconds,) = medians([compiled(loop, matrix)], seconds=1.0)
    return [Row(case, "rate", 2 * size**3 / seconds / 1e9, "GFLOP/s")]

"""Compares the simulator's speed and memory with CartPole and with a simple actor loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.environment import Environment
from jax.sharding import Mesh

from experiments.benchmarks.rows import Row, peak_memory
from experiments.benchmarks.timing import Program, called, compiled, medians
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.agents.config import A2CConfig
from ialp_jax.keys import stream
from ialp_jax.mesh import device_mesh, split_users
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.heads import ActorCritic, mask_shown
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.simulator.world import World, build
from ialp_jax.training.encoded import act as act_with
from ialp_jax.training.encoded import empty_memory
from ialp_jax.training.rollout import Users, start_users
from ialp_jax.training.seeds import over_seeds
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
NAIVE_ITEMS, NAIVE_USERS = 3_000, 1_024  # largest size at which the simple loop is measured
SIZE = NetworkConfig(width=64, blocks=2, heads=2)

Act = Callable[[Any, Any, Key], Array]  # (parameters, observation of B users, key) -> actions, int32 [B]


def world(items: int) -> World:
    """A made-up world of N items; users like about one item in ten, and all optional dynamics are off."""
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
    """Compiles a loop in which B users take steps.

    The loop sums the rewards. So the compiler cannot remove the simulation of the users' answers.
    """

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
    """Draws a random action for each user; the same item may come again."""
    return lambda params, observation, key: jax.random.randint(key, (users,), 0, actions)


def cartpole(users: int) -> Program:
    """CartPole of gymnax with random actions."""
    env = CartPole()
    return program(env, env.default_params, uniform(2, users), None, users)


def rows(
    case: str,
    users: int,
    ours: Program,
    memory: float,
    baseline: str,
    other: Callable[[], Program] | None,
    run_seconds: float = 0.25,
) -> list[Row]:
    """The result rows for speed, compile time and memory of the program ``ours``.

    The caller has measured ``memory`` before ``other`` compiles the baseline. So ``memory`` does not include
    the baseline.
    """
    stats = jax.devices()[0].memory_stats()  # None on a CPU
    baselines = [] if other is None else [other()]
    seconds, *baseline_seconds = medians([ours, *baselines], seconds=run_seconds)
    result = [
        Row(
            case,
            "env_steps_per_second",
            users / seconds,
            "steps/s",
            baseline,
            *(other_seconds / seconds for other_seconds in baseline_seconds),
        ),
        Row(case, "compile_seconds", ours.compile_seconds, "s"),
        Row(case, "peak_memory", memory, "MiB"),
    ]
    if stats:
        result.append(Row(case, "peak_device_memory", stats["peak_bytes_in_use"] / 2**20, "MiB"))
    result += [
        Row(case, f"{baseline}_steps_per_second", users / other_seconds, "steps/s")
        for other_seconds in baseline_seconds
    ]
    return result


def random_actions(case: str, users: int, items: int) -> list[Row]:
    """Compares the simulator under random actions with CartPole, for the same number of users."""
    made_up = world(items)
    ours = program(made_up.env, made_up.params, uniform(items, users), None, users)
    return rows(case, users, ours, peak_memory(), "cartpole", lambda: cartpole(users))


class NaiveActor(nn.Module):
    """A simple SASRec actor, in which every block uses Flax's attention over the whole sequence."""

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
    """Measures a loop with our SASRec actor; at small sizes, also compares it with the simple actor."""
    made_up = world(items)
    observation, _ = made_up.env.reset(jax.random.key(0), made_up.params)
    length = observation.history.shape[0]
    agent = a2c(A2CConfig(), ActorCritic(items, length, SIZE))
    state = agent.init(stream(jax.random.key(0), "init"), observation, None)

    def act(state: Any, observation: Observation, key: Key) -> Array:
        return agent.act(state, observation, key)[0]

    def naive() -> Program:
        network = NaiveActor(items)
        params = jax.jit(network.init)(jax.random.key(0), observation.history[None])

        def act(params: Any, observation: Observation, key: Key) -> Array:
            logits = network.apply(params, observation.history)
            return jax.random.categorical(key, mask_shown(logits, observation.shown))

        return program(made_up.env, made_up.params, act, params, users)

    ours = program(made_up.env, made_up.params, act, state, users)
    is_small = items <= NAIVE_ITEMS and users <= NAIVE_USERS
    return rows(case, users, ours, peak_memory(), "naive" if is_small else "", naive if is_small else None)


def acting(world: World, agent: Agent) -> Callable[..., Array]:
    """Returns a loop in which a frozen agent acts: (steps, params, (state, users), key) -> rewards [B]."""

    def loop(steps: Array, params: Any, start: tuple[AgentState, Users], key: Key) -> Array:
        state, users = start
        count = users.observation.history.shape[0]

        def step(number: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            users, memory, total = carry
            act_key, user_key = jax.random.split(jax.random.fold_in(key, number))
            action, _, memory = act_with(agent, state, users.observation, act_key, memory)
            observation, after, reward, *_ = jax.vmap(world.env.step, in_axes=(0, 0, 0, None))(
                jax.random.split(user_key, count), users.state, action, params
            )
            return split_users((Users(observation, after), memory, total + reward))

        memory = empty_memory(agent.encoder, state, users.observation)
        return jax.lax.fori_loop(0, steps, step, split_users((users, memory, jnp.zeros(count))))[2]

    return loop


def frozen_actor(case: str, users: int, items: int, baseline: str) -> list[Row]:
    """Measures a SASRec actor with frozen parameters, whose users are divided among all devices.

    Args:
      case: id.
      users, items: B and N.
      baseline: ``uncached`` encodes all histories in each step, on the same devices; ``one_device`` is the
        same actor on one device.
    """
    made_up = world(items)
    observation, _ = made_up.env.reset(jax.random.key(0), made_up.params)
    agent = a2c(A2CConfig(), ActorCritic(items, observation.history.shape[0], SIZE))
    state = agent.init(stream(jax.random.key(0), "init"), observation, None)._replace(opt_state=())
    keys = jax.random.split(jax.random.key(1), 1)
    started = start_users(made_up.env, made_up.params, stream(keys[0], "user"), users)
    start = jax.tree.map(lambda leaf: leaf[None], (state, started))

    def of(agent: Agent, mesh: Mesh | None) -> Program:
        loop = over_seeds(acting(made_up, agent), "map", shared=2, mesh=mesh)
        return called(loop, made_up.params, start, keys)

    everywhere = device_mesh(1, 0, 1, users)
    others = {
        "uncached": lambda: of(agent._replace(encoder=None), everywhere),
        "one_device": lambda: of(agent, None),
    }
    # Runs are long, because each begins with an empty memory.
    return rows(
        case, users, of(agent, everywhere), peak_memory(), baseline, others[baseline], run_seconds=2.0
    )


def yardsticks(case: str) -> list[Row]:
    """Measures the rate of float32 products of 2,048 x 2,048 matrices."""
    size = 2048
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)) / size**0.5, jnp.float32)

    def loop(steps: Array, matrix: Array) -> Array:
        return jax.lax.fori_loop(0, steps, lambda _, product: product @ matrix, matrix)

    (seconds,) = medians([compiled(loop, matrix)], seconds=1.0)
    return [Row(case, "rate", 2 * size**3 / seconds / 1e9, "GFLOP/s")]

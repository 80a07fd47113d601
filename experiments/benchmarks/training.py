"""Measures the speed of online learning on Coat: interactions per second, updates included.

The ratings come from ``IALP_DATA`` or ``../shared/data``. If they do not exist, a made-up world of the same
size replaces Coat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.benchmarks import simulator
from experiments.benchmarks.real_data import data_root
from experiments.benchmarks.rows import Row, peak_memory
from experiments.benchmarks.timing import Program, called, medians
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.agents.config import A2CConfig, DQNConfig
from ialp_jax.agents.dqn import dqn
from ialp_jax.data import DataConfig, load
from ialp_jax.keys import stream
from ialp_jax.mesh import device_mesh
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.heads import ActorCritic, QNetwork
from ialp_jax.simulator.config import simulator_of
from ialp_jax.simulator.world import World, build
from ialp_jax.training.adapt import evaluator
from ialp_jax.training.config import EvaluationConfig
from ialp_jax.training.rollout import Users, collect, start_users
from ialp_jax.training.seeds import over_seeds
from ialp_jax.types import EVALUATION, ONLINE, Array, Key
from ialp_jax.users.evaluation_model import fit_models

COAT_ITEMS = 300
SEEDS = 10
POINTS, UPDATES, EPISODES = 40, 5, 256  # Evaluations, updates between evaluations, sessions per evaluation.
REPLAYED = 5  # Replayed samples of DQN per interaction.


def coat() -> World:
    """Coat if its files exist, else a made-up world of its size."""
    root = data_root()
    if not root.is_dir():
        return simulator.world(COAT_ITEMS)
    dataset, config = load(DataConfig(name="coat", root=str(root))), simulator_of("coat")
    return build(dataset, fit_models(dataset, config.user_model)[0].model, config)


def agent_of(name: str, world: World) -> Agent:
    """A2C with D = 64, 2 blocks and B = 256, or DQN with D = 32, 1 block and 5 replayed samples per step."""
    items = world.params.user_model.item_bias.shape[0] - 1
    length = world.env.reset(jax.random.key(0), world.params)[0].history.shape[0]
    if name == "a2c":
        size = NetworkConfig(width=64, blocks=2, heads=2)
        return a2c(A2CConfig(num_users=256, rollout_length=5), ActorCritic(items, length, size))
    settings = DQNConfig(num_users=64, rollout_length=4, batch_size=256, gradient_steps=REPLAYED)
    return dqn(settings, QNetwork(items, length, NetworkConfig(width=32, blocks=1, heads=1)))


def begin(world: World, agent: Agent, key: Key) -> tuple[AgentState, Users]:
    """The initial states of the agent and of its simulated users, for one seed."""
    observation, _ = world.env.reset(key, world.params)
    users = start_users(world.env, world.params, stream(key, "user"), agent.num_users)
    return agent.init(stream(key, "init"), observation, None), users


def learning(world: World, agent: Agent) -> Callable[..., tuple[AgentState, Users]]:
    """Returns a loop of rollouts and updates: (updates, params, (state, users), key) -> (state, users)."""

    def loop(updates: Array, params: Any, start: tuple[AgentState, Users], key: Key) -> Any:
        def update(number: Array, carry: tuple[AgentState, Users]) -> tuple[AgentState, Users]:
            state, users = carry
            step_key = jax.random.fold_in(key, number)
            users, batch = collect(world.env, params, agent, state, users, stream(step_key, "collect"))
            return agent.update(state, batch, stream(step_key, "update"))[0], users

        return jax.lax.fori_loop(0, updates, update, start)

    return loop


def operations(world: World, agent: Agent, start: tuple[AgentState, Users], gradient_steps: int) -> float:
    """Floating-point operations per interaction, as counted by XLA.

    XLA counts the body of a loop only once. So the count of an update is multiplied by its
    number of gradient steps.
    """
    state, users = start
    key = jax.random.key(0)

    def flops(function: Callable, *arguments: Any) -> float:
        return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]

    acting = flops(agent.act, state, users.observation, key) / agent.num_users
    batch = jax.jit(lambda s, u: collect(world.env, world.params, agent, s, u, key)[1])(state, users)
    steps = agent.num_users * agent.rollout_length
    return acting + gradient_steps * flops(agent.update, state, batch, key) / steps


def until_learned(case: str, world: World, agent: Agent, keys: Key, mesh: Mesh | None) -> list[Row]:
    """Measures the learning time until the return reaches 90 % of the final return, without evaluations."""
    loop = over_seeds(learning(world, agent), "map", shared=2, mesh=mesh)
    evaluate = over_seeds(evaluator(world.env, agent, keys[0], EvaluationConfig(episodes=EPISODES)), shared=1)
    carry = jax.jit(jax.vmap(lambda key: begin(world, agent, key)))(keys)
    params, evaluation_params = world.of(ONLINE), world.of(EVALUATION)
    seconds, returns = [0.0], []
    jax.block_until_ready(loop(np.int32(1), params, carry, keys))  # compiles
    for point in range(POINTS + 1):
        returns.append(float(evaluate(evaluation_params, jax.device_get(carry[0]), keys)["return"][0]))
        part = jax.vmap(lambda key, point=point: stream(key, "part", point))(keys)
        began = time.perf_counter()
        carry = jax.block_until_ready(loop(np.int32(UPDATES), params, carry, part))
        seconds.append(seconds[-1] + time.perf_counter() - began)
    reached = int(np.argmax(np.array(returns) >= 0.9 * returns[-1]))
    steps = POINTS * UPDATES * agent.num_users * agent.rollout_length
    return [
        Row(case, f"return_after_{steps}_steps", returns[-1], "likes"),
        Row(case, "seconds_to_90_percent_of_it", seconds[reached], "s"),
    ]


def online(case: str, agent: str) -> list[Row]:
    """Measures interactions per second of one seed and the cost of ten seeds.

    One seed runs on one device, and again with its users divided among all devices. The faster way counts.
    Ten seeds run one after another in this faster way, then together on one device (``vmap``), then divided
    among all devices.
    """
    world = coat()
    gradient_steps = REPLAYED if agent == "dqn" else 1
    agent = agent_of(agent, world)
    params, loop = world.of(ONLINE), learning(world, agent)
    keys = jax.random.split(jax.random.key(0), SEEDS)
    start = jax.jit(jax.vmap(lambda key: begin(world, agent, key)))(keys)

    def program(seeds: int, how: str, mesh: Mesh | None) -> Program:
        arguments = jax.tree.map(lambda leaf: leaf[:seeds], (start, keys))
        return called(over_seeds(loop, how, shared=2, mesh=mesh), params, *arguments)

    by_users = device_mesh(1, 0, 1, agent.num_users)
    single = {mesh: program(1, "map", mesh) for mesh in dict.fromkeys((None, by_users))}
    memory = peak_memory()
    seconds = dict(zip(single, medians(list(single.values()), seconds=1.0, repeats=9), strict=True))
    fastest = min(seconds, key=seconds.get)
    ways = {
        "map": ("map", fastest),
        "vmap": ("vmap", None),
        "devices": ("map", device_mesh(0, 1, SEEDS, agent.num_users)),
    }
    many = [program(SEEDS, *way) for way in ways.values()]
    one, *tens = medians([single[fastest], *many], seconds=1.0, repeats=5)
    rate = simulator.yardsticks(case)[0].value
    steps = agent.num_users * agent.rollout_length
    speed, one_device_speed = steps / seconds[fastest], steps / seconds[None]
    work = operations(world, agent, jax.tree.map(lambda leaf: leaf[0], start), gradient_steps)
    return [
        Row(case, "interactions_per_second", speed, "steps/s", "on one device", speed / one_device_speed),
        Row(case, "compile_seconds", single[fastest].compile_seconds, "s"),
        Row(case, "peak_memory", memory, "MiB"),
        Row(case, "operations_per_interaction", work / 1e6, "MFLOP"),
        Row(case, "matmul_rate", rate, "GFLOP/s"),
        Row(case, "share_of_matmul_rate", work * speed / rate / 1e9, ""),
        *(
            Row(case, f"ten_seeds_by_{way}", ten / one, "times one")
            for way, ten in zip(ways, tens, strict=True)
        ),
        *until_learned(case, world, agent, keys[:1], fastest),
    ]

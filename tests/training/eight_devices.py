"""Compares results on eight devices with results on one device.

test_devices.py runs this script in a process that has eight devices. The script prints one JSON object, which
maps the name of each check to its result.
"""

from __future__ import annotations

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, LENGTH, Q_NETWORK, SMALL, start_of, world
from jax.sharding import Mesh
from test_adapt import bandit

from ialp_jax.agents import streaming
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.base import Agent, News
from ialp_jax.agents.config import A2CConfig, DQNConfig, GateConfig, MixtureConfig, PGConfig
from ialp_jax.agents.dqn import dqn
from ialp_jax.agents.gate import gate
from ialp_jax.agents.mixture import mixture
from ialp_jax.agents.pg import pg
from ialp_jax.agents.streaming import Factors, choose_streamed, everything_new, summaries
from ialp_jax.errors import InputError
from ialp_jax.mesh import USER, device_mesh, split_users
from ialp_jax.networks.heads import Recommender
from ialp_jax.training.adapt import OnlineTask, adapt
from ialp_jax.training.config import AdaptConfig, DevicesConfig, EvaluationConfig, PretrainConfig
from ialp_jax.training.pretrain import Pretrainer, supervised_loss
from ialp_jax.training.rollout import collect, play, start_users
from ialp_jax.training.seeds import over_seeds

A2C = A2CConfig(num_users=40, rollout_length=5, learning_rate=1e-2)
DQN = DQNConfig(num_users=40, rollout_length=5, capacity=400, batch_size=64)
AGENTS = {"a2c": a2c(A2C, ACTOR_CRITIC), "dqn": dqn(DQN, Q_NETWORK)}
SIZE = {"num_users": 40, "rollout_length": 5}
ON_POLICY = {
    "a2c": AGENTS["a2c"],
    "pg": pg(PGConfig(**SIZE), ACTOR_CRITIC),
    "mixture": mixture(MixtureConfig(**SIZE), ACTOR_CRITIC, 1000),
    "gate": gate(GateConfig(**SIZE), ACTOR_CRITIC),
}
NETWORK = Recommender(ITEMS, LENGTH, SMALL)
BY_SEEDS, BY_USERS, BOTH = DevicesConfig(8, 1), DevicesConfig(1, 8), DevicesConfig(2, 4)
KEY = jax.random.key(0)


def furthest(tree: object, other: object) -> float:
    """The largest difference between corresponding numbers of two trees."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(np.asarray(a, float) - np.asarray(b, float)))) for a, b in pairs)


def same(tree: object, other: object) -> bool:
    """Whether two trees have the same bits."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def curves(seeds: int, devices: DevicesConfig | None) -> dict[str, np.ndarray]:
    """Adapts a bandit online, and returns its learning curves."""
    config = AdaptConfig(env_steps=2000)
    evaluation, params = EvaluationConfig(episodes=16, ends=40, points=2), world("two_tastes")
    task = OnlineTask(ENV, params, params, KEY, seeds, config, evaluation, devices=devices)
    return adapt(task, bandit())


def training_rows() -> np.ndarray:
    """Training sequences of a supervised network: histories and the next item, [64, L + 1]."""
    return np.random.default_rng(0).integers(1, ITEMS + 1, (64, LENGTH + 1)).astype(np.int32)


def pretrainer(seeds: int, devices: DevicesConfig | None) -> Pretrainer:
    """The trainer of a supervised network, before its first update."""
    config, loss = PretrainConfig(batch_size=32, learning_rate=3e-3), supervised_loss(NETWORK)
    return Pretrainer(loss, NETWORK, config, 10, KEY, seeds, LENGTH, seeds_by="map", devices=devices)


def updated(name: str, devices: DevicesConfig | None) -> object:
    """Two seeds of an agent after ten updates on the same transitions."""
    agent, params = AGENTS[name], world("two_tastes")

    def start(key: jax.Array) -> tuple:
        state = agent.init(key, start_of(0))
        users = start_users(ENV, params, key, agent.num_users)
        return state, collect(ENV, params, agent, state, users, key)[1]

    def ten(state: object, batch: object) -> tuple:
        def update(state: object, key: jax.Array) -> tuple:
            return agent.update(state, split_users(batch, axis=1), key)

        return jax.lax.scan(update, state, jax.random.split(KEY, 10))

    mesh = devices and device_mesh(devices.seeds, devices.users, 2, agent.num_users)
    states, batches = jax.jit(jax.vmap(start))(jax.random.split(KEY))
    return over_seeds(ten, mesh=mesh)(states, batches)


def gradients(devices: DevicesConfig | None) -> object:
    """Gradients of the supervised loss at the initial parameters, for two seeds and one fixed batch."""
    run, data = pretrainer(2, None), training_rows()
    loss = supervised_loss(NETWORK)

    def gradient(batch: object, params: object) -> object:
        return jax.grad(lambda p: loss(p, p, split_users(batch), KEY)[0])(params)

    mesh = devices and device_mesh(devices.seeds, devices.users, 2, len(data))
    return over_seeds(gradient, shared=1, mesh=mesh)(data, run.params)


def pretrained(seeds: int, devices: DevicesConfig | None) -> object:
    """Parameters after ten updates; the keys draw the minibatches."""
    run = pretrainer(seeds, devices)
    run.advance(training_rows(), 64)
    return jax.tree_util.tree_map_with_path(moved, run.params)


def moved(path: tuple, leaf: jax.Array) -> jax.Array:
    """Sets the bias of attention keys to 0, because softmax ignores it and rounding errors change it."""
    return leaf.at[:, 1].set(0) if "Attention_0']['bias" in jax.tree_util.keystr(path) else leaf


def shown(agent: Agent, devices: DevicesConfig | None) -> np.ndarray:
    """The items that two seeds of an agent show in whole sessions, [2, H, E]."""
    params = world("coin")

    def items(key: jax.Array) -> jax.Array:
        return play(ENV, params, agent, agent.init(key, start_of(0)), key, key, agent.num_users).items

    mesh = devices and device_mesh(devices.seeds, devices.users, 2, agent.num_users)
    return np.asarray(over_seeds(items, mesh=mesh)(jax.random.split(KEY)))


def streamed() -> list[bool]:
    """Whether eight devices choose the same items as one device from a streamed catalogue of 1,009 items."""
    draw = np.random.default_rng(0)
    table, query = (draw.integers(-2, 3, (rows, 4)).astype(np.float32) for rows in (1010, 16))
    shown, bias = draw.integers(0, 1010, (16, 30)).astype(np.int32), np.zeros(1009, np.float32)

    def choose(key: jax.Array | None) -> jax.Array:
        return jax.jit(choose_streamed, static_argnums=4)(key, query, Factors(table, bias), shown, 5)

    def everywhere(key: jax.Array | None) -> jax.Array:
        with jax.set_mesh(Mesh(jax.devices(), (USER,))):
            return choose(key)

    streaming.CHUNK, streaming.GROUP = 300, 4  # several chunks and groups
    return [same(choose(key), everywhere(key)) for key in (None, KEY)]


def remembered() -> tuple[float, bool]:
    """Compares the block numbers that eight devices keep, while queries and items change.

    Returns:
      The largest difference from those of one device, and whether kept numbers have the bits of new numbers.
    """
    draw = np.random.default_rng(1)
    table, query, later = (draw.integers(-2, 3, (rows, 4)).astype(np.float32) for rows in (1010, 16, 16))
    shown, bias = draw.integers(0, 1010, (16, 30)).astype(np.int32), np.zeros(1009, np.float32)
    changed, new = draw.random(16) < 0.4, draw.random((16, 30)) < 0.1
    factors, news = Factors(table, bias), News(shown, changed, new | changed[:, None])

    def keep(greedy: bool) -> list[jax.Array]:
        refresh = jax.jit(summaries, static_argnums=3)
        first = refresh(query, factors, everything_new(shown * ~new), greedy, None)
        query_after = np.where(changed[:, None], later, query)
        second = refresh(query_after, factors, news, greedy, first)
        return [first, second, refresh(query_after, factors, everything_new(shown), greedy, None)]

    alone = [keep(greedy) for greedy in (False, True)]
    with jax.set_mesh(Mesh(jax.devices(), (USER,))):
        shared = [keep(greedy) for greedy in (False, True)]
    return furthest(alone, shared), all(same(*numbers[1:]) for numbers in shared)


def exchanged(agent: Agent) -> list[str]:
    """XLA's names of the communication between eight devices that share users, in a rollout and an update."""
    params = world("two_tastes")

    def learn(state: object, users: object, key: jax.Array) -> tuple:
        users, batch = collect(ENV, params, agent, state, users, key)
        return agent.update(state, batch, key)[0], users

    state, users = agent.init(KEY, start_of(0)), start_users(ENV, params, KEY, agent.num_users)
    with jax.set_mesh(Mesh(jax.devices(), (USER,))):
        program = jax.jit(learn).lower(state, users, KEY).compile().as_text()
    return sorted(set(re.findall(r" (all-\w+|collective-permute|reduce-scatter)(?:-start)?\(", program)))


def refused(*args: int) -> str:
    """The error message for a mesh."""
    try:
        return str(device_mesh(*args))
    except InputError as error:
        return str(error)


def shares(*args: int) -> list[int]:
    """The lengths of the axes of a mesh."""
    mesh = device_mesh(*args)
    return [] if mesh is None else list(mesh.shape.values())


def split_rows() -> list[int]:
    """The shape of each device's part if `split_users` divides eight rows among four devices."""
    with jax.set_mesh(Mesh(jax.devices()[:4], (USER,))):
        return list(jax.jit(split_users)(jnp.ones((8, 3))).sharding.shard_shape((8, 3)))


def main() -> None:
    """Runs all checks."""
    checks = {
        "devices": jax.device_count(),
        "adapt by seeds": same(curves(8, None), curves(8, BY_SEEDS)),
        "pretrain by seeds": same(pretrained(8, None), pretrained(8, BY_SEEDS)),
        "gradients by users": furthest(gradients(None), gradients(BY_USERS)),
        "pretrain by users": furthest(pretrained(2, None), pretrained(2, BY_USERS)),
        "a2c by both": furthest(updated("a2c", None), updated("a2c", BOTH)),
        "dqn by users": furthest(updated("dqn", None), updated("dqn", BY_USERS)),
        "shown": [float(np.mean(shown(agent, None) == shown(agent, BOTH))) for agent in AGENTS.values()],
        "streamed": streamed(),
        "remembered": remembered(),
        "learned": furthest(pretrained(2, None), pretrainer(2, None).params),
        "exchanged": {name: exchanged(agent) for name, agent in ON_POLICY.items()},
        "split": split_rows(),
        "shares": [shares(0, 1, 10, 20), shares(0, 0, 2, 20), shares(0, 0, 1, 7), shares(0, 0, 1, 11)],
        "too many": refused(4, 4, 4, 4),
        "unequal": refused(4, 1, 10, 20),
    }
    print(json.dumps(checks))


if __name__ == "__main__":
    main()

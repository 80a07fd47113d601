"""Kept states act like the agents that learned them, and other agents, catalogues and shapes are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, Q_NETWORK, world
from test_adapt import EPISODES, bandit
from test_checkpoint import Killed, checkpoints

from ialp_jax import store
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.base import Agent, frozen_state
from ialp_jax.agents.config import A2CConfig, DQNConfig, MixtureConfig
from ialp_jax.agents.dqn import dqn
from ialp_jax.agents.mixture import mixture
from ialp_jax.agents.reference import popular
from ialp_jax.errors import InputError
from ialp_jax.training import kept
from ialp_jax.training.adapt import OnlineTask, adapted, evaluator
from ialp_jax.training.config import AdaptConfig
from ialp_jax.training.loop import ONLY_BAR, Hooks
from ialp_jax.training.seeds import over_seeds, seed_keys

CATALOGUE = {"world": "toy", "items": ITEMS, "sha256": "abcdef0123456789"}
SIZE = {"num_users": 50, "rollout_length": 10}
PARAMS = world("two_tastes")
AGENTS = {
    "bandit": bandit(),
    "a2c": a2c(A2CConfig(**SIZE), ACTOR_CRITIC),
    "mixture": mixture(MixtureConfig(**SIZE), ACTOR_CRITIC, 2000),
    "dqn": dqn(DQNConfig(**SIZE, capacity=600, batch_size=8), Q_NETWORK),
    "popular": popular(np.arange(ITEMS + 1)),
}


def task(keep, steps=2000, seeds=2, points=4):
    config = AdaptConfig(env_steps=steps, seeds_by="map", keep=keep)
    evaluation = dataclasses.replace(EPISODES, points=points)
    return OnlineTask(ENV, PARAMS, PARAMS, jax.random.key(0), seeds, config, evaluation)


def saved(part, states, name="a2c", catalogue=CATALOGUE):
    """Writes a part as the adapt stage does, without curves."""
    with store.replacing(part) as folder:
        entry = kept.save(folder / kept.FOLDER, states)
        store.seal(folder, {"agent": name, kept.ENTRY: {**entry, "keep": "last", "catalogue": catalogue}})
    return part


def loaded(part, agent, name="a2c", catalogue=CATALOGUE):
    return kept.load(part, name, agent, ENV, PARAMS, catalogue)


@pytest.mark.parametrize("name", AGENTS)
def test_loaded_states_repeat_the_last_evaluation_bit_for_bit(tmp_path, name):
    agent, job = AGENTS[name], task("last")
    curves, states = adapted(job, agent)
    states_again = loaded(saved(tmp_path / "part", states, name), agent, name)
    measure = over_seeds(evaluator(ENV, agent, job.key, job.evaluation_config), "map", shared=1)
    row = measure(job.evaluation, states_again, seed_keys(job.key, 2))
    for metric in ("return", "length", "coverage", "gini"):
        np.testing.assert_array_equal(row[metric], curves[metric][:, -1])
    np.testing.assert_array_equal(states.returns, curves["return"][:, -1].astype(np.float32))
    assert states.env_steps.tolist() == [2000 if agent.update else 0] * 2


def test_only_arrays_that_acting_reads_are_kept():
    arrays = {name: set(adapted(task("last"), AGENTS[name])[1].arrays) for name in ("a2c", "mixture", "dqn")}
    assert not any(name.startswith(("opt_state", "memory")) for name in arrays["a2c"] | arrays["dqn"])
    assert "env_steps" in arrays["mixture"]  # alpha depends on it
    assert any(name.startswith("memory") for name in arrays["mixture"])  # the frozen policy


def walk(returns):
    """An agent without world: its parameter counts units, and ``returns`` [S, units + 1] are its returns."""
    table = jnp.asarray(returns, jnp.float32)

    def init(key, observation, pretrained=None):
        return frozen_state({"seed": pretrained, "unit": jnp.int32(0)})

    def act(state, observation, key, greedy=False):
        users = observation.history.shape[:-1]
        return jnp.zeros(users, jnp.int32) + state.params["unit"] * 0, {"seed": state.params["seed"]}

    def update(state, batch, key):
        params = {**state.params, "unit": state.params["unit"] + 1}
        return state._replace(params=params), {"m": jnp.float32(0)}

    def evaluate(states, keys, everything):
        returns = table[states.params["seed"], states.params["unit"]]
        return {"return": np.asarray(returns), "common/return": np.asarray(returns)}

    return Agent(init, act, update, num_users=100, rollout_length=10), evaluate


RETURNS = [[3, 1, 5, 5, 2], [9, 1, 2, 3, 4]]


def walked(monkeypatch, keep, hooks=ONLY_BAR):
    agent, evaluate = walk(RETURNS)
    monkeypatch.setattr("ialp_jax.training.adapt.measurer", lambda *args: evaluate)
    return adapted(task(keep, 4000, points=9), agent, jnp.arange(2), hooks=hooks)[1]


def test_the_best_states_are_those_of_the_first_point_with_the_highest_return(monkeypatch):
    best = walked(monkeypatch, "best")
    assert best.returns.tolist() == [5, 9]
    assert best.env_steps.tolist() == [2000, 0]
    assert best.arrays["params/unit"].tolist() == [2, 0]
    last = walked(monkeypatch, "last")
    assert last.arrays["params/unit"].tolist() == [4, 4]
    assert last.returns.tolist() == [2, 4]
    assert walked(monkeypatch, "none") is None


@pytest.mark.parametrize("at", [1000, 3000])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_killed_adaptation_keeps_the_same_bits(monkeypatch, tmp_path, keep, at):
    calm = walked(monkeypatch, keep)
    with pytest.raises(Killed), checkpoints(tmp_path, at=at) as saving:
        walked(monkeypatch, keep, Hooks(saving))
    with checkpoints(tmp_path) as saving:
        again = walked(monkeypatch, keep, Hooks(saving))
        assert saving.offered[0] == at + 1000
    jax.tree.map(np.testing.assert_array_equal, again, calm)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    states = adapted(task("last", 1000), AGENTS["a2c"])[1]
    return saved(tmp_path_factory.mktemp("adapt") / "a2c", states)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pg"}, "states of the agent 'a2c', not of 'pg'"),
        (
            {"catalogue": {**CATALOGUE, "sha256": "123"}},
            "another catalogue, 16 items of toy, sha256 abcdef01",
        ),
        ({"agent": AGENTS["dqn"]}, "other settings"),
    ],
)
def test_other_agents_catalogues_and_shapes_are_refused_in_one_line(part, change, message):
    with pytest.raises(InputError, match=message) as refused:
        loaded(part, **{"agent": AGENTS["a2c"], **change})
    assert "\n" not in str(refused.value)


def test_a_part_without_states_or_with_damaged_ones_is_refused(part, tmp_path):
    store.save(tmp_path / "curves", {"a": np.zeros(1)}, {"agent": "a2c"})
    with pytest.raises(InputError, match="no states are kept here"):
        loaded(tmp_path / "curves", AGENTS["a2c"])
    broken = saved(tmp_path / "broken", kept.Kept({}, np.zeros(1), np.zeros(1)))
    (broken / kept.FOLDER / "seed0.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="altered or truncated"):
        loaded(broken, AGENTS["a2c"])
    manifest = store.read_manifest(broken)
    store.seal(broken, manifest)  # now the manifest fits the file, but the file is not in safetensors format
    with pytest.raises(InputError, match="not readable") as refused:
        loaded(broken, AGENTS["a2c"])
    assert "\n" not in str(refused.value)


def test_zeros_in_place_of_a_replay_buffer_take_no_memory(tmp_path):
    agent = AGENTS["dqn"]
    states = adapted(task("last", 1000), agent)[1]
    state = loaded(saved(tmp_path / "dqn", states, "dqn"), agent, "dqn")
    assert {array.strides[0] for array in jax.tree.leaves(state.memory) if array.ndim} == {0}

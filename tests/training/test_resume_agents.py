"""Every agent that learns goes on from a checkpoint to the same bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, LENGTH, world
from test_checkpoint import Killed, checkpoints, same

from experiments.config import Config
from experiments.make_agent import actor_critic, make_agent
from ialp_jax.agents import registry
from ialp_jax.training import adapt as adaptation
from ialp_jax.training.config import AdaptConfig, EvaluationConfig
from ialp_jax.types import Observation, Transition

SEEDS = 2
LEARNERS = list(filter(registry.learns, registry.ids()))


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """Every run uses the same compiled unit; evaluations, which change nothing, are left out."""
    monkeypatch.setattr(adaptation, "evaluator", lambda *args: nothing)
    for name in ("_chunk", "over_seeds"):
        monkeypatch.setattr(adaptation, name, functools.cache(getattr(adaptation, name)))


def nothing(params, state, key):
    return {"return": jnp.zeros(())}


def config():
    found = Config()
    found.network.width, found.network.blocks, found.network.heads = 8, 1, 1
    found.simulator.history_length = LENGTH
    found.adapt.env_steps = 3000
    for name in LEARNERS:
        agent = getattr(found.agents, name)
        agent.num_users, agent.rollout_length = 50, 10
        for size, value in {"capacity": 600, "batch_size": 8}.items():
            if hasattr(agent, size):
                setattr(agent, size, value)
    return found


def labelled():
    generator = np.random.default_rng(0)
    seen = Observation(
        generator.integers(1, ITEMS + 1, (20, LENGTH)).astype(np.int32),
        np.zeros((20, LENGTH + 6), np.int32),
    )
    flags = np.zeros(20, bool)
    action = generator.integers(0, ITEMS, 20).astype(np.int32)
    candidates = {"candidates": np.tile(np.arange(2, dtype=np.int32), (20, 1))}
    return Transition(seen, action, np.ones(20, np.float32), flags, flags, seen, candidates)


@pytest.mark.parametrize("name", LEARNERS)
def test_an_agent_that_was_interrupted_ends_with_the_same_bits(name, tmp_path):
    settings, params, pretrained = config(), world("two_tastes"), None
    agent = make_agent(name, settings, params, np.arange(ITEMS + 1), labelled())
    if registry.starts_from(name):
        keys = jax.random.split(jax.random.key(1), SEEDS)
        network = actor_critic(settings, ITEMS)
        pretrained = jax.vmap(lambda key: network.init(key, jnp.zeros(LENGTH, jnp.int32)))(keys)

    def run(kept=None):
        how, shown = AdaptConfig(env_steps=3000, seeds_by="map"), EvaluationConfig(points=2)
        key = jax.random.key(0)
        return adaptation.adapt(
            ENV, params, params, agent, key, SEEDS, how, shown, pretrained, name, checkpoints=kept
        )

    calm = run()
    assert sum(metric.startswith("learn/") for metric in calm) >= 3
    compiled = adaptation.over_seeds(adaptation._chunk(ENV, agent), "map", shared=1)
    before = compiled._cache_size()
    for stop in (1000, 2000):
        with pytest.raises(Killed), checkpoints(tmp_path, at=stop) as kept:
            run(kept)
    with checkpoints(tmp_path) as kept:
        same(run(kept), calm)
        assert kept.seen == [3000]
    assert compiled._cache_size() == before

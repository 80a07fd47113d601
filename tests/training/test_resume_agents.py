"""Every agent that learns goes on from a checkpoint to the same bits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, LENGTH, world
from jax.experimental.compilation_cache import compilation_cache
from test_checkpoint import Killed, checkpoints, same

from experiments.config import Config
from experiments.roster import PRETRAINED, actor_critic, make_agent
from experiments.stages.adapt_stage import AGENT_SETTINGS
from ialp_jax.training.adapt import adapt
from ialp_jax.training.config import AdaptConfig, EvaluationConfig
from ialp_jax.types import Observation, Transition

SEEDS = 2


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def config():
    found = Config()
    found.network.width, found.network.blocks, found.network.heads = 8, 1, 1
    found.simulator.history_length = LENGTH
    found.adapt.env_steps = 3000
    for name in set(AGENT_SETTINGS.values()):
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


def run(name, kept=None):
    settings = config()
    params = world("two_tastes")
    agent = make_agent(name, settings, params, np.arange(ITEMS + 1), labelled())
    pretrained = None
    if name in PRETRAINED:
        keys = jax.random.split(jax.random.key(1), SEEDS)
        network = actor_critic(settings, ITEMS)
        pretrained = jax.vmap(lambda key: network.init(key, jnp.zeros(LENGTH, jnp.int32)))(keys)
    how = dataclasses.replace(AdaptConfig(), env_steps=3000, seeds_by="map")
    shown = EvaluationConfig(episodes=8, points=2)
    key = jax.random.key(0)
    return adapt(ENV, params, params, agent, key, SEEDS, how, shown, pretrained, name, checkpoints=kept)


@pytest.mark.parametrize("name", AGENT_SETTINGS)
def test_an_agent_that_was_interrupted_ends_with_the_same_bits(name, tmp_path):
    calm = run(name)
    assert any(metric.startswith("learn/") for metric in calm)
    for stop in (1000, 2000):
        with pytest.raises(Killed), checkpoints(tmp_path, at=stop) as kept:
            run(name, kept)
    with checkpoints(tmp_path) as kept:
        same(run(name, kept), calm)
        assert kept.seen == [3000]

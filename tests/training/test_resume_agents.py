"""Every learning agent can continue from a checkpoint of its whole state, and gives the same bits."""

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
from ialp_jax.training.loop import Hooks
from ialp_jax.types import Observation, Transition

pytestmark = pytest.mark.slow

SEEDS = 2
LEARNERS = list(filter(registry.learns, registry.ids()))


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """All runs use the same compiled unit. They skip evaluations, which do not change the agent."""
    monkeypatch.setattr(adaptation, "evaluator", lambda *args: nothing)
    for name in ("_unit", "over_seeds"):
        monkeypatch.setattr(adaptation, name, functools.cache(getattr(adaptation, name)))


def nothing(params, state, key):
    return {"return": jnp.zeros(())}


def config():
    settings = Config()
    settings.network.width, settings.network.blocks, settings.network.heads = 8, 1, 1
    settings.simulator.history_length = LENGTH
    settings.adapt.env_steps = 2000
    for name in LEARNERS:
        agent = getattr(settings.agents, name)
        agent.num_users, agent.rollout_length = 50, 10
        for size, value in {"capacity": 600, "batch_size": 8}.items():
            if hasattr(agent, size):
                setattr(agent, size, value)
    return settings


def labelled():
    generator = np.random.default_rng(0)
    observation = Observation(
        generator.integers(1, ITEMS + 1, (20, LENGTH)).astype(np.int32),
        np.zeros((20, LENGTH + 6), np.int32),
    )
    flags = np.zeros(20, bool)
    action = generator.integers(0, ITEMS, 20).astype(np.int32)
    candidates = {"candidate_actions": np.tile(np.arange(2, dtype=np.int32), (20, 1))}
    return Transition(observation, action, np.ones(20, np.float32), flags, flags, observation, candidates)


@pytest.mark.parametrize("name", LEARNERS)
def test_an_agent_that_was_interrupted_ends_with_the_same_bits(name, tmp_path):
    settings, params, pretrained = config(), world("two_tastes"), None
    agent = make_agent(name, settings, params, np.arange(ITEMS + 1), labelled())
    if registry.record(name).starts_from:
        keys = jax.random.split(jax.random.key(1), SEEDS)
        network = actor_critic(settings, ITEMS)
        pretrained = jax.vmap(lambda key: network.init(key, jnp.zeros(LENGTH, jnp.int32)))(keys)

    def run(saving=None):
        config, evaluation = AdaptConfig(env_steps=2000, seeds_by="map"), EvaluationConfig(ends=300, points=2)
        task = adaptation.OnlineTask(ENV, params, params, jax.random.key(0), SEEDS, config, evaluation)
        return adaptation.adapt(task, agent, pretrained, name, Hooks(saving))

    calm = run()
    assert sum(metric.startswith("learn/") for metric in calm) >= 3
    compiled = adaptation.over_seeds(adaptation._unit(ENV, agent), "map", shared=1)
    before = compiled._cache_size()
    with pytest.raises(Killed), checkpoints(tmp_path, at=1000) as saving:
        run(saving)
    with checkpoints(tmp_path) as saving:
        same(run(saving), calm)
        assert saving.offered == [2000]
    assert compiled._cache_size() == before

"""Every registered agent can be made, has a display style, and starts from the right parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ITEMS, LENGTH, start_of, world

from experiments.agents import AGENTS
from experiments.config import Config
from experiments.make_agent import actor_critic, make_agent, recommender
from experiments.stages import recipes
from ialp_jax.agents import registry
from ialp_jax.agents.config import START_FROM
from ialp_jax.errors import InputError
from ialp_jax.types import Observation, Transition

LABELLED = Transition(
    Observation(np.zeros((3, LENGTH), np.int32), np.zeros((3, LENGTH + 6), np.int32)),
    np.zeros(3, np.int32),
    np.zeros(3, np.float32),
    np.zeros(3, bool),
    np.zeros(3, bool),
    Observation(np.zeros((3, LENGTH), np.int32), np.zeros((3, LENGTH + 6), np.int32)),
    {"candidate_actions": np.zeros((3, 2), np.int32)},
)


@pytest.fixture(scope="module")
def config():
    config = Config()
    config.network.width, config.network.blocks, config.network.heads = 8, 1, 1
    config.simulator.history_length = LENGTH
    return config


def test_every_pretraining_that_an_agent_can_start_from_is_made():
    assert set(recipes.NEEDS) == set(registry.PRETRAININGS)
    agents = Config().agents
    assert {registry.starts_from(name, agents) for name in registry.ids()} == {"", *registry.PRETRAININGS}
    assert set(recipes.PREFIX) == set(registry.PRETRAININGS)


def test_the_setting_start_from_decides_and_its_default_is_that_of_the_record():
    agents = Config().agents
    choosing = [name for name in registry.ids() if hasattr(getattr(agents, name, None), "start_from")]
    starting = {
        name for name in registry.ids() if registry.record(name).starts_from and registry.learns(name)
    }
    assert set(choosing) == starting
    for name in choosing:
        section = getattr(agents, name)
        assert section.start_from == registry.record(name).starts_from == registry.starts_from(name, agents)
        assert registry.needs_labels(name, agents) == (name != "a2c_warm")
        for source in START_FROM:
            section.start_from = source
            assert registry.starts_from(name, agents) == source
            assert registry.starts_from(name, dataclasses.asdict(agents)) == source
            assert registry.needs_labels(name, agents) == (source != "a2c_warm" or name == "rlpd")
        section.start_from = "sasrec"
        with pytest.raises(InputError, match=rf"agents\.{name}\.start_from='sasrec' must be one of"):
            agents.check()
        section.start_from = registry.record(name).starts_from
    for name in ("ialp", "ialp_soft", "sasrec"):
        assert registry.starts_from(name, {}) == name
    assert registry.starts_from("unknown", agents) == ""


@pytest.mark.parametrize("name", registry.ids())
def test_every_agent_is_made_and_named(config, name):
    agent = make_agent(name, config, world("one_item"), np.arange(ITEMS + 1), LABELLED)
    pretrained = None
    record = registry.record(name)
    if record.starts_from:
        network = (recommender if name == "sasrec" else actor_critic)(config, ITEMS)
        pretrained = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(LENGTH, jnp.int32))
    start = jax.eval_shape(lambda: start_of(0))
    state = jax.eval_shape(agent.init, jax.random.key(0), start, pretrained)
    if record.starts_from:
        learned = state.params.network if name == "a_ialp_gate" else state.params
        assert jax.tree.structure(learned) == jax.tree.structure(pretrained)
    assert (agent.update is not None) == registry.learns(name)
    assert agent.privileged == record.privileged
    assert name in AGENTS
    if record.replays_labels:
        assert state.memory.fixed.reward.shape == (3,)

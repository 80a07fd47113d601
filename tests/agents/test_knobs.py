"""Every setting of every agent has an effect: a new value changes the start, an action or an update."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, LENGTH, SMALL, start_of, world

from experiments.config import Config
from experiments.make_agent import make_agent
from experiments.study.overrides import value_at
from experiments.study.search import numbers_of
from ialp_jax.agents import registry
from ialp_jax.agents.numbered import numbered
from ialp_jax.agents.reference import random
from ialp_jax.settings import LIMITS
from ialp_jax.simulator.config import replaced
from ialp_jax.training.rollout import collect, start_users

PARAMS = world("two_tastes")
SIZE = {
    "num_users": 4,
    "rollout_length": 4,
    "batch_size": 8,
    "gradient_steps": 1,
    "capacity": 64,
    "epsilon_steps": 40,
    "warmup_steps": 20,
}
# Some settings act late, or have no effect near their default. Each has here a value that acts at once.
OTHER = {
    "max_gradient_norm": 1e-3,
    "max_ratio": 0.01,
    "max_weight": 0.01,
    "alpha_start": 0.3,
    "epsilon_end": 0.5,
}
AT_START = ("temperature_factor",)  # settings that act only in `Agent.init`, which gets them as constants
LEARNERS = list(filter(registry.learns, registry.ids()))


def other_value(field, value):
    """A valid value of a setting, other than ``value``."""
    if field.type is str:
        return next(choice for choice in field.metadata[LIMITS].choices if choice != value)
    if field.type is bool:
        return not value
    return OTHER.get(field.name) or 0.5 * value or 0.5 if field.type is float else 2 * value or 20


@functools.cache
def labelled():
    agent = random(ITEMS)._replace(rollout_length=8)
    users = start_users(ENV, PARAMS, jax.random.key(1), 4)
    state = agent.init(jax.random.key(0), start_of(0), None)
    batch = collect(ENV, PARAMS, agent, state, users, jax.random.key(2))[1]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)


@functools.cache
def pretrained():
    return jax.jit(ACTOR_CRITIC.init)(jax.random.key(7), start_of(0).history)


def default_config(name):
    config = Config()
    config.simulator.history_length, config.network, config.adapt.env_steps = LENGTH, SMALL, 40
    settings = getattr(config.agents, name)
    for size in SIZE.keys() & vars(settings).keys():
        setattr(settings, size, SIZE[size])
    return config


def life(name, config, numbers):
    """Returns a function of the numeric settings. It lets a new agent act and learn three times."""
    agent = numbered(
        lambda values: make_agent(name, replaced(config, values), PARAMS, np.arange(ITEMS + 1), labelled()),
        numbers,
    )
    start = pretrained() if registry.record(name).starts_from else None

    def run(values):
        users = start_users(ENV, PARAMS, jax.random.key(1), agent.num_users)
        state = agent.init(jax.random.key(5), start_of(0), start)._replace(numbers=values)

        def update(carry, key):
            state, users = carry
            users, batch = collect(ENV, PARAMS, agent, state, users, key)
            return (agent.update(state, batch, jax.random.fold_in(key, 1))[0], users), batch.action

        (after, _), actions = jax.lax.scan(update, (state, users), jax.random.split(jax.random.key(2), 3))
        return after.state, actions

    return run


def text_of(name, config, numbers):
    """The traced program of `life` as text, without memory addresses."""
    program = jax.make_jaxpr(life(name, config, numbers))({path: np.float32(0) for path in numbers})
    return re.sub("0x[0-9a-f]+", "", str(program))


def settings_of(name, config):
    """Each setting of an agent: its path, and another value.

    ``start_from`` selects the parameters that a run loads, see ``tests/experiments/test_stages.py``.
    """
    settings = getattr(config.agents, name)
    for field in dataclasses.fields(settings):
        if field.name != "start_from":
            yield f"agents.{name}.{field.name}", other_value(field, getattr(settings, field.name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_every_setting_acts(name):
    config = default_config(name)
    other = dict(settings_of(name, config))
    numbers = {path: value_at(config, path) for path in numbers_of(other) if not path.endswith(AT_START)}
    run, text = jax.jit(life(name, config, numbers)), text_of(name, config, numbers)
    assert text == text_of(name, config, numbers)
    before = jax.tree.leaves(run(numbers))
    for path, value in other.items():
        changed = replaced(config, {path: value})
        changed.agents.check()
        if path in numbers:
            after = jax.tree.leaves(run({**numbers, path: value}))
            assert not all(map(np.array_equal, before, after)), f"{path}={value}"
        else:  # a changed program shows the effect, so the test does not run it
            assert text != text_of(name, changed, numbers), f"{path}={value}"


def test_a_setting_that_acts_only_with_another_is_idle_without():
    config = replaced(default_config("a_ialp_ap"), {"agents.a_ialp_ap.start": "random"})
    other = replaced(config, {"agents.a_ialp_ap.critic_start": "pretrained"})
    assert text_of("a_ialp_ap", config, {}) == text_of("a_ialp_ap", other, {})

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, LENGTH, SMALL, start_of, world

from experiments.agents import space_of
from experiments.config import Config
from experiments.make_agent import make_agent
from experiments.study.search import numbers_of
from ialp_jax.agents import registry
from ialp_jax.agents.numbered import numbered
from ialp_jax.agents.reference import random
from ialp_jax.simulator.config import put, replaced
from ialp_jax.training.rollout import collect, start_users

PARAMS = world("two_tastes")


def labelled():
    agent = random(ITEMS)._replace(rollout_length=8)
    users = start_users(ENV, PARAMS, jax.random.key(1), 4)
    state = agent.init(jax.random.key(0), start_of(0), None)
    batch = collect(ENV, PARAMS, agent, state, users, jax.random.key(2))[1]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)


def maker(method):
    config = Config(name="numbered")
    config.simulator.history_length, config.network = LENGTH, SMALL
    for name, value in {"num_users": 4, "rollout_length": 4, "batch_size": 8, "capacity": 64}.items():
        if hasattr(getattr(config.agents, method), name):
            put(config, f"agents.{method}.{name}", value)
    prior, popularity = labelled(), jnp.ones(ITEMS + 1)

    return lambda values: make_agent(method, replaced(config, values), PARAMS, popularity, prior)


def one_update(agent, state):
    """Lets the agent act for one rollout and learn once; returns the new state."""
    users = start_users(ENV, PARAMS, jax.random.key(1), agent.num_users)
    batch = collect(ENV, PARAMS, agent, state, users, jax.random.key(2))[1]
    return agent.update(state, batch, jax.random.key(3))[0]


def ends(method):
    """Returns the numeric settings of a method twice: first and last values of its search space."""
    space = space_of(method).items()
    return [numbers_of({path: values[end] for path, values in space}) for end in (0, -1)]


@pytest.mark.parametrize("method", list(filter(registry.learns, registry.ids())))
def test_no_agent_needs_to_know_its_numbers(method):
    low, _ = ends(method)
    assert {path.rpartition(".")[2] for path in low} >= {"learning_rate", "discount"}
    agent = numbered(maker(method), low)
    state = agent.init(jax.random.key(5), start_of(0), None)
    after = jax.eval_shape(lambda before: one_update(agent, before), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["a_ialp_gate", "pex"])
def test_one_program_serves_all_numbers_and_learns_as_the_agent_that_knows_them(method):
    make, numbers = maker(method), ends(method)
    agents = [numbered(make, values) for values in numbers]
    program = jax.jit(lambda state: one_update(agents[0], state))
    states = [agent.init(jax.random.key(5), start_of(0), None) for agent in agents]
    first, second = map(program, states)
    assert program._cache_size() == 1
    plain = make(numbers[1])
    known = jax.jit(lambda state: one_update(plain, state))(states[1].state)
    for one, other in zip(jax.tree.leaves(second.state), jax.tree.leaves(known), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), first.state.params, second.state.params)
    assert max(jax.tree.leaves(differences)) > 1e-4  # otherwise the numeric settings have no effect


def test_an_agent_that_does_not_learn_stays_one():
    agent = numbered(lambda values: random(ITEMS), {"x": 1.0})
    assert agent.update is None


def test_what_shapes_an_array_is_no_number():
    values = {"agents.rlpd.labelled_share": 0.5, "agents.rlpd.discount": 0.9, "pretrain.warm_updates": 3}
    assert numbers_of(values | {"pretrain.learning_rate": 0.1}) == {"agents.rlpd.discount": 0.9}

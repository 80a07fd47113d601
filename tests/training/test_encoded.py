"""Agents that remember encoded histories act like agents that encode all histories in each step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, LENGTH, start_of, world

from experiments.config import Config
from experiments.make_agent import make_agent
from ialp_jax.agents import acting, registry, streaming
from ialp_jax.agents.base import Encoder
from ialp_jax.agents.reference import random
from ialp_jax.agents.streaming import blocks_of
from ialp_jax.training import encoded
from ialp_jax.training.encoded import empty_memory, refreshed
from ialp_jax.training.rollout import Users, collect, play, start_users
from ialp_jax.types import Observation, Transition

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU remembers histories")
USERS, STEPS = 40, 200
PARAMS = world("coin_leaves")
KEY = jax.random.key(0)
IN_COIN = [name for name in registry.ids() if name not in ("random", "popular", "oracle")]


@functools.cache
def agent_and_state(name):
    """An agent and its state. Its parameters are large and differ, so that it prefers different items."""
    config = Config()
    config.network.width, config.network.blocks, config.network.heads = 8, 1, 1
    config.simulator.history_length = LENGTH
    observation = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), start_of(0))
    none, flags = jnp.zeros(3), jnp.zeros(3, bool)
    labelled = Transition(
        observation, jnp.zeros(3, jnp.int32), none, flags, flags, observation, {"candidate_actions": none}
    )
    agent = make_agent(name, config, world("one_item"), np.arange(ITEMS + 1), labelled)
    state = jax.jit(agent.init)(KEY, start_of(0), None)

    leaves, structure = jax.tree.flatten(state.params)
    draw = np.random.default_rng(0)
    noisy = [5 * leaf + 0.3 * draw.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    state = state._replace(params=jax.tree.unflatten(structure, noisy))
    return agent._replace(num_users=USERS, rollout_length=STEPS), state


def sessions(steps):
    """Observations of users after some steps of random recommendations."""
    agent = random(ITEMS)._replace(rollout_length=max(steps, 1))
    users = start_users(ENV, PARAMS, KEY, USERS)
    if steps == 0:
        return users.observation
    return collect(ENV, PARAMS, agent, agent.init(KEY, start_of(0)), users, KEY)[0].observation


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("name", IN_COIN)
def test_every_agent_acts_the_same_with_encoded_histories(name, greedy):
    agent, state = agent_and_state(name)
    observation = sessions(4)
    memory = refreshed(agent.encoder, state, empty_memory(agent.encoder, state, observation), observation)
    actions, extras = agent.act(state, observation, KEY, greedy=greedy)
    others, other_extras = agent.act(state, observation, KEY, greedy=greedy, encoded=memory.encoded)
    np.testing.assert_array_equal(actions, others)
    assert extras.keys() == other_extras.keys()
    for metric, values in extras.items():
        np.testing.assert_allclose(values, other_extras[metric], rtol=1e-4, atol=1e-5)
    assert greedy or len(set(np.asarray(actions).tolist())) > 1


@pytest.mark.parametrize("name", ["a2c", "a_ialp_ap", "dqn"])
def test_the_same_items_are_shown_after_200_steps(name):
    agent, state = agent_and_state(name)

    @functools.partial(jax.jit, static_argnums=0)
    def run(agent):
        return collect(ENV, PARAMS, agent, state, start_users(ENV, PARAMS, KEY, USERS), KEY)

    users, transitions = run(agent)
    others, other_transitions = run(agent._replace(encoder=None))
    np.testing.assert_array_equal(transitions.action, other_transitions.action)
    np.testing.assert_array_equal(users.observation.shown, others.observation.shown)
    assert transitions.reward.sum() > 0
    assert transitions.terminated.any()


def test_whole_sessions_are_the_same():
    agent, state = agent_and_state("a2c")

    @functools.partial(jax.jit, static_argnums=0)
    def run(agent):
        return play(ENV, world("coin"), agent, state, KEY, KEY, USERS)

    np.testing.assert_array_equal(run(agent).items, run(agent._replace(encoder=None)).items)


@pytest.fixture
def streams(monkeypatch):
    """All catalogues are streamed, in several chunks and groups. JAX has not traced these agents before."""
    agent_and_state.cache_clear()
    monkeypatch.setattr(acting, "STREAM_FROM", 0)
    monkeypatch.setattr(acting, "LOGITS_UP_TO", 0)
    monkeypatch.setattr(streaming, "GROUP", 4)
    monkeypatch.setattr(streaming, "CHUNK", 2 * 4 * 8)
    yield
    agent_and_state.cache_clear()


STREAMED = [("a2c", False), ("a2c", True), ("pg", False), ("sasrec", False), ("ialp", True)]


@pytest.mark.parametrize(("name", "greedy"), STREAMED)
def test_streamed_items_are_the_same_after_200_steps(streams, name, greedy):
    """The choices have the same bits. Encoded histories may differ in the last bits, which rarely matters."""
    agent, state = agent_and_state(name)

    @functools.partial(jax.jit, static_argnums=0)
    def run(encoder):
        def step(carry, key):
            users, memory = carry
            act_key, user_key = jax.random.split(key)
            action, _, memory = encoded.act(
                agent._replace(encoder=encoder), state, users.observation, act_key, memory, greedy
            )
            after = jax.vmap(ENV.step, in_axes=(0, 0, 0, None))(
                jax.random.split(user_key, USERS), users.state, action, PARAMS
            )
            return (Users(*after[:2]), memory), (action, after[0].shown, after[3])

        users = start_users(ENV, PARAMS, KEY, USERS)
        start = (users, empty_memory(encoder, state, users.observation))
        return jax.lax.scan(step, start, jax.random.split(KEY, STEPS))[1]

    for one, other in zip(run(agent.encoder), run(None), strict=True):
        np.testing.assert_array_equal(one, other)
    assert run(None)[2].any()  # new sessions began


def test_streamed_numbers_change_only_with_the_history_or_with_shown_items(streams):
    """A new table shows which numbers are computed again."""
    agent, state = agent_and_state("a2c")
    before = sessions(4)
    memory = refreshed(agent.encoder, state, empty_memory(agent.encoder, state, before), before)
    other = state._replace(params=jax.tree.map(lambda leaf: leaf + 1.0, state.params))
    rows = np.array([2, 7, 30])
    after = changed(before, rows)
    later = refreshed(agent.encoder, other, memory, after)
    differ = np.asarray(later.encoded.by_block != memory.encoded.by_block)
    np.testing.assert_array_equal(np.flatnonzero(differ.any(1)), rows)
    assert differ[rows].all()
    shown = before.shown.at[5, -1].set(3)
    later = refreshed(agent.encoder, other, memory, before._replace(shown=shown))
    differ = np.asarray(later.encoded.by_block != memory.encoded.by_block)
    assert np.argwhere(differ).tolist() == [[5, 2 // blocks_of(ITEMS).size]]


def changed(observation, rows, shift=1):
    """The same observations, except for the histories of ``rows``."""
    history = observation.history.at[rows].set((observation.history[rows] + shift) % ITEMS + 1)
    return observation._replace(history=history)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, USERS])
def test_only_changed_histories_are_encoded(count):
    """The function multiplies by the state. So a new state shows which rows are encoded again."""
    encoder = Encoder(lambda state, history: (state * history, history[:, 0]))
    before = sessions(0)
    rows = np.random.default_rng(count).permutation(USERS)[:count]
    after = changed(before, rows)
    memory = refreshed(encoder, jnp.int32(1), empty_memory(encoder, jnp.int32(1), before), before)
    np.testing.assert_array_equal(memory.encoded[0], before.history)
    memory = jax.jit(refreshed, static_argnums=0)(encoder, jnp.int32(10), memory, after)
    expected = np.array(before.history)
    expected[rows] = 10 * np.asarray(after.history)[rows]
    np.testing.assert_array_equal(memory.encoded[0], expected)
    np.testing.assert_array_equal(memory.encoded[1], after.history[:, 0])
    assert all((a == b).all() for a, b in zip(memory.observation, after, strict=True))


def test_a_new_session_with_the_same_history_forgets_what_was_hidden():
    """Hidden items stay hidden only within a session."""
    encoder = Encoder(
        lambda state, history: jnp.ones((len(history), ITEMS + 1)),
        lambda state, encoded, news, greedy: jax.vmap(lambda row, ids: row.at[ids].set(0.0))(
            encoded, news.shown
        ),
    )
    history = jnp.full((2, LENGTH), 16)
    first = Observation(history, jnp.array([[16, 3, 0, 0], [16, 3, 0, 0]]))
    second = Observation(history, jnp.array([[16, 3, 4, 0], [16, 0, 0, 0]]))  # the second user starts anew
    memory = refreshed(encoder, None, empty_memory(encoder, None, first), first)
    assert [np.flatnonzero(row == 0).tolist() for row in np.asarray(memory.encoded)] == [[0, 3, 16]] * 2
    memory = refreshed(encoder, None, memory, second)
    assert [np.flatnonzero(row == 0).tolist() for row in np.asarray(memory.encoded)] == [
        [0, 3, 4, 16],
        [0, 16],
    ]


@pytest.mark.parametrize(
    ("name", "large"), [("a2c", False), ("jsrl", False), ("a2c", True), ("sasrec", True)]
)
def test_the_bits_do_not_depend_on_the_step_of_encoding(name, large, request):
    """So a rollout that continues after a kill, with an empty memory, gives the same bits."""
    if large:
        request.getfixturevalue("streams")
    agent, state = agent_and_state(name)
    refresh = jax.jit(functools.partial(refreshed, agent.encoder))
    before = sessions(2)
    start = empty_memory(agent.encoder, state, before)
    memory = refresh(state, start, before)
    after = changed(before, np.array([3, 5, 8, 20, 21, 22, 23, 24, 25, 39]))
    grown, fresh = refresh(state, memory, after), refresh(state, start, after)
    for one, other in zip(jax.tree.leaves(grown), jax.tree.leaves(fresh), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_seeds_side_by_side_remember_their_own_histories():
    encoder = Encoder(lambda state, history: state * history)
    one, states = sessions(2), jnp.array([1, 2, 3])
    seen = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), one, changed(one, np.arange(3)), changed(one, np.arange(20))
    )

    def run(state, first, second):
        memory = refreshed(encoder, state, empty_memory(encoder, state, first), first)
        return refreshed(encoder, state, memory, second).encoded

    firsts = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), one)
    np.testing.assert_array_equal(jax.vmap(run)(states, firsts, seen), states[:, None, None] * seen.history)


def test_accelerators_and_agents_without_an_encoder_remember_nothing(monkeypatch):
    agent, state = agent_and_state("a2c")
    observation = sessions(0)
    assert empty_memory(agent.encoder, state, observation) is not None
    assert empty_memory(random(ITEMS).encoder, {}, observation) is None
    monkeypatch.setattr(encoded.jax, "default_backend", lambda: "gpu")
    assert empty_memory(agent.encoder, state, observation) is None

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, HORIZON, ITEMS, LENGTH, world

from ialp_jax.agents.base import Agent, frozen_state
from ialp_jax.agents.reference import oracle, random
from ialp_jax.networks.heads import mask_shown
from ialp_jax.simulator.dynamics_params import Dynamics, Segments
from ialp_jax.training.rollout import (
    Episodes,
    Groups,
    collect,
    gini,
    play,
    scan_while,
    start_users,
    summarise,
    summarise_groups,
    summarise_segments,
)
from ialp_jax.users.predict import user_scores

USERS, STEPS = 3, 40
STATE = frozen_state({})
KEY = jax.random.key(0)


@functools.cache
def in_order(offset=0):
    """An agent that shows each item once, in cyclic order from item 1 + ``offset``."""

    def act(state, observation, key, greedy=False):
        rank = -((jnp.arange(ITEMS) - offset) % ITEMS) * 1.0
        rows = jnp.broadcast_to(rank, (*observation.history.shape[:-1], ITEMS))
        return jnp.argmax(mask_shown(rows, observation.shown), -1).astype(jnp.int32), {}

    return Agent(lambda *_: STATE, act, None, USERS, STEPS)


@pytest.fixture(scope="module", params=["patience", "coin_leaves", "two_tastes"])
def experience(request):
    """Forty steps of three users: (params, transitions, users before, users afterwards)."""
    params = world(request.param)
    agent = random(ITEMS)._replace(num_users=USERS, rollout_length=STEPS)

    def run():
        users = start_users(ENV, params, KEY, USERS)
        return users, *collect(ENV, params, agent, STATE, users, jax.random.key(3))

    first, users, transitions = jax.tree.map(np.asarray, jax.jit(run)())
    return params, transitions, first, users


def test_sessions_follow_each_other(experience):
    params, batch, first, users = experience
    ended = batch.terminated | batch.truncated
    assert ended.any(0).all()
    assert not (batch.terminated & batch.truncated).any()
    follows = jax.tree.map(
        lambda a, b: np.concatenate([a[1:], b[None]]), batch.observation, users.observation
    )
    np.testing.assert_array_equal(batch.observation.history[0], first.observation.history)
    for t, b in np.ndindex(STEPS, USERS):
        after = jax.tree.map(lambda leaf, t=t, b=b: leaf[t, b], batch.next_observation)
        then = jax.tree.map(lambda leaf, t=t, b=b: leaf[t, b], follows)
        if ended[t, b]:
            starts = {tuple(row) for row in np.asarray(params.start_histories)}
            assert tuple(then.history) in starts
            assert (then.shown[LENGTH:] == 0).all()
        else:
            np.testing.assert_array_equal(then.history, after.history)
            np.testing.assert_array_equal(then.shown, after.shown)


def test_next_observations_are_the_true_ones(experience):
    _, batch, _, _ = experience
    liked = batch.reward > 0
    now, after = batch.observation, batch.next_observation
    item = batch.action + 1
    grown = np.concatenate([now.history[..., 1:], item[..., None]], -1)
    np.testing.assert_array_equal(after.history, np.where(liked[..., None], grown, now.history))
    count = (now.shown[..., LENGTH:] > 0).sum(-1)
    np.testing.assert_array_equal(
        np.take_along_axis(after.shown, (LENGTH + count)[..., None], -1)[..., 0], item
    )
    assert not (now.shown == item[..., None]).any()
    np.testing.assert_array_equal(batch.truncated | batch.terminated | (count + 1 < HORIZON), True)
    np.testing.assert_array_equal((count + 1)[batch.truncated], HORIZON)


@functools.partial(jax.jit, static_argnums=1)
def played(params, agent, user_key, act_key):
    return play(ENV, params, agent, STATE, user_key, act_key, 24)


def whole(name, agent, user_key=1, act_key=2):
    keys = jax.random.key(user_key), jax.random.key(act_key)
    return jax.tree.map(np.asarray, played(world(name), agent, *keys))


def test_play_by_hand():
    """Users like items 3 to 9. The agent shows items in order, but not the user's history (item 1 or 2)."""
    episodes = whole("patience", in_order())
    assert set(episodes.items[0]) == {1, 2}
    assert (episodes.items[1:].T == [3, 4, 5, 6, 7]).all()
    assert (episodes.length == HORIZON).all()
    assert (episodes.total == 5).all()


def test_play_stops_counting_when_the_user_leaves():
    """The user likes items 8 and 9, so patience stays 2. The user dislikes items 10 and 11, and leaves."""
    episodes = whole("patience", in_order(7))
    assert (episodes.items.T == [8, 9, 10, 11, 0, 0]).all()
    assert (episodes.length == 4).all()
    assert (episodes.total == 2).all()
    sums = summarise(Episodes(*jax.tree.map(jnp.asarray, episodes)), ITEMS)
    expected = {"return": 2, "length": 4, "reward_per_step": 0.5, "coverage": 4 / ITEMS}
    expected["gini"] = 1 - 4 / ITEMS  # four items share all exposure equally
    assert {name: float(value) for name, value in sums.items()} == pytest.approx(expected)


@pytest.mark.parametrize("name", ["one_item", "coin_leaves", "two_tastes"])
def test_play_stops_when_the_last_session_has_ended(name):
    calls = []

    def act(*args, **settings):
        jax.debug.callback(lambda: calls.append(1))
        return in_order().act(*args, **settings)

    agent = in_order()._replace(act=act)
    run = jax.jit(lambda params: play(ENV, params, agent, STATE, KEY, KEY, 16))
    length = run(world(name)).length
    jax.effects_barrier()
    assert len(calls) == length.max() <= HORIZON


def test_a_scan_that_stops_has_the_results_of_one_that_does_not():
    def step(left, number):
        row = jnp.where(left > 0, number + left, 0)
        return jnp.maximum(left - 1, 0), (row, {"left": left > 0})

    def run(left, most):
        return scan_while(step, left, most, lambda left: jnp.any(left > 0))

    for left in (jnp.array([0, 3, 1]), jnp.array([0, 0, 0]), jnp.array([9, 2, 2])):
        carry, results = jax.jit(run, static_argnums=1)(left, 5)
        after, rows = jax.lax.scan(step, left, jnp.arange(5))
        assert carry.tolist() == after.tolist()
        jax.tree.map(np.testing.assert_array_equal, results, rows)
    sizes = jnp.array([[0, 3], [7, 1], [0, 0]])
    beside = jax.vmap(lambda left: run(left, 5)[1][0])(sizes)
    assert beside.tolist() == [run(left, 5)[1][0].tolist() for left in sizes]


def test_reward_per_step_weighs_sessions_by_their_length():
    episodes = Episodes(jnp.array([3.0, 0.0]), jnp.array([4, 2]), jnp.array([[1, 2], [3, 2], [4, 0], [5, 0]]))
    sums = summarise(episodes, 10)
    assert float(sums["reward_per_step"]) == pytest.approx(0.5)
    assert float(sums["coverage"]) == pytest.approx(0.5)


def test_users_and_their_answers_do_not_depend_on_the_agent():
    """The first shown item depends on the user. The random numbers of answers do not depend on the agent."""
    one, other = whole("coin", in_order()), whole("coin", in_order(), act_key=9)
    np.testing.assert_array_equal(one.total, other.total)
    np.testing.assert_array_equal(one.items, other.items)
    shown = whole("two_tastes", in_order()).items[0]
    np.testing.assert_array_equal(shown, one.items[0])
    assert set(shown) == {1, 2}
    assert (whole("coin", in_order(), user_key=5).items[0] != shown).any()
    # Another agent shows other items. In the coin world, the random answers stay the same.
    np.testing.assert_array_equal(whole("coin", in_order(6)).total, one.total)
    assert len(set(one.total)) > 1


def test_a_privileged_agent_sees_the_state():
    params = world("two_tastes")
    best = whole("two_tastes", oracle(lambda state: user_scores(params.user_model, state.user)))
    assert (best.total == HORIZON).all()


def test_greedy_reaches_the_agent():
    def act(state, observation, key, greedy=False):
        return jnp.full(observation.history.shape[:-1], 4 if greedy else 9, jnp.int32), {}

    agent = Agent(lambda *_: STATE, act)
    for greedy, item in ((True, 5), (False, 10)):
        episodes = play(ENV, world("two_tastes"), agent, STATE, KEY, KEY, 2, greedy)
        assert (episodes.items[0] == item).all()


def test_segments_are_summarised_separately():
    segment = jnp.array([0, 3, 0, 1])
    segments = Segments(segment, jnp.float32(1), jnp.float32(0), jnp.zeros(ITEMS + 1))
    params = world("coin").replace(dynamics=Dynamics(segments=segments))
    episodes = Episodes(
        jnp.array([3.0, 1.0, 2.0]), jnp.array([4, 2, 6]), jnp.zeros((6, 3), jnp.int32), jnp.array([0, 1, 2])
    )
    sums = summarise_segments(episodes, params)
    assert float(sums["return/patient_mainstream"]) == 2.5
    assert float(sums["length/patient_mainstream"]) == 5.0
    assert float(sums["return/impatient_niche"]) == 1.0
    assert np.isnan(float(sums["return/impatient_mainstream"]))
    assert summarise_segments(episodes, world("coin")) == {}
    agent = random(ITEMS)
    played = play(ENV, params, agent, STATE, jax.random.key(1), jax.random.key(2), 50)
    of = np.asarray(segment)[np.asarray(played.user)]
    expected = np.asarray(played.total)[of == 0].mean()
    assert float(summarise_segments(played, params)["return/patient_mainstream"]) == pytest.approx(expected)


def test_gini_by_hand():
    for counts, expected in (([3, 3, 3, 3], 0.0), ([0, 0, 0, 8], 3 / 4), ([0, 0, 0, 0], 0.0)):
        assert float(gini(jnp.array(counts))) == pytest.approx(expected, abs=1e-6)
    # The Gini index is half of the mean absolute difference over all ordered pairs, divided by the mean.
    counts = np.array([5, 1, 0, 2, 7])
    differences = np.abs(counts[:, None] - counts).mean()
    assert float(gini(jnp.array(counts))) == pytest.approx(differences / 2 / counts.mean(), rel=1e-6)


def test_groups_are_summarised_separately():
    """Items 1 and 2 have category 1, item 3 category 2, item 4 none. So 3 of 5 shown categories are 1."""
    groups = Groups(np.array([0, 1, 1, 2, 0]), np.array([0, 1, 1]), ("mainstream", "niche"))
    items = jnp.array([[1, 2, 3], [1, 3, 4], [4, 0, 0]])
    episodes = Episodes(jnp.array([3.0, 1.0, 2.0]), jnp.array([3, 2, 2]), items, jnp.array([0, 1, 2]))
    sums = {name: float(value) for name, value in summarise_groups(episodes, groups).items()}
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    expected = {"category_entropy": entropy, "return/mainstream": 3.0, "return/niche": 1.5}
    assert sums == pytest.approx(expected)
    # Item 1 has categories 1 and 3, each with weight 1/2; item 2 has none.
    several = groups._replace(category=np.array([[0, 0], [1, 3], [0, 0], [2, 0], [0, 0]]))
    entropy = -2 * (0.25 * np.log(0.25)) - 0.5 * np.log(0.5)  # items 1 and 3 are each shown twice
    assert float(summarise_groups(episodes, several)["category_entropy"]) == pytest.approx(entropy)
    nothing = groups._replace(category=np.zeros(5, np.int32), user=np.zeros(3, np.int32))
    sums = summarise_groups(episodes, nothing)
    assert float(sums["category_entropy"]) == 0
    assert np.isnan(float(sums["return/niche"]))

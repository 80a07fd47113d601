import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, LENGTH, SMALL, start_of, world

from ialp_jax.agents import acting
from ialp_jax.agents.reference import oracle, popular, random
from ialp_jax.agents.sasrec import next_item_loss, sasrec
from ialp_jax.networks.heads import Recommender, tempered
from ialp_jax.types import Observation
from ialp_jax.users.predict import user_scores

KEY = jax.random.key(0)
NETWORK = Recommender(ITEMS, LENGTH, SMALL)
SEEN = Observation(jnp.array([0, 0, 1, 16]), jnp.array([0, 0, 1, 16, 5, 15, 0, 0, 0, 0]))


def tiled(count):
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), SEEN)


def test_random_is_even_over_what_was_not_shown():
    agent = random(ITEMS)
    state = agent.init(KEY, start_of(0), None)
    drawn = np.bincount(jax.jit(agent.act)(state, tiled(6000), KEY)[0], minlength=ITEMS)
    assert drawn[[0, 4, 14, 15]].sum() == 0
    assert (np.delete(drawn, [0, 4, 14, 15]) > 400).all()  # expected count 500, standard deviation 21


def test_popular_takes_the_most_popular_that_is_left():
    agent = popular(np.arange(ITEMS + 1) ** 2)
    assert agent.act(agent.init(KEY, start_of(0), None), tiled(3), KEY)[0].tolist() == [13, 13, 13]


def test_oracle_follows_the_users_own_taste():
    params = world("two_tastes")
    agent = oracle(lambda state: user_scores(params.user_model, state.user))
    assert agent.privileged
    for user, liked in ((0, set(range(3, 10))), (3, set(range(10, 17)))):
        observation, state = ENV.start(jnp.int32(user), params)
        for _ in range(3):
            action, _ = agent.act(None, (observation, state), KEY)
            assert int(action) + 1 in liked
            observation, state, reward, *_ = ENV.step_env(KEY, state, action, params)
            assert float(reward) == 1


@pytest.fixture(scope="module")
def params():
    return jax.jit(NETWORK.init)(KEY, SEEN.history)


@pytest.mark.parametrize("huge", [False, True])
def test_sasrec_samples_from_its_scores_or_takes_the_best_item_that_is_left(params, monkeypatch, huge):
    if huge:
        monkeypatch.setattr(acting, "STREAM_FROM", 0)
    agent = sasrec(NETWORK)
    params = tempered(params, 0.25)
    state = agent.init(KEY, start_of(0), params)
    scores = np.array(jax.jit(NETWORK.apply)(params, SEEN.history))
    scores[[0, 15, 4, 14]] = -np.inf
    act = jax.jit(agent.act, static_argnames="greedy")
    assert (act(state, tiled(2), KEY, greedy=True)[0] == scores.argmax()).all()
    drawn = np.bincount(act(state, tiled(6000), KEY)[0], minlength=ITEMS) / 6000
    np.testing.assert_allclose(drawn, np.exp(scores) / np.exp(scores).sum(), atol=0.02)
    assert np.ptp(drawn) > 0.02  # the policy is not uniform
    assert agent.update is None


def test_next_item_loss_by_hand(params):
    windows = jnp.array([[0, 0, 3, 9, 4], [5, 1, 2, 8, 16], [0, 0, 0, 0, 7]])
    loss = jax.jit(lambda w: next_item_loss(NETWORK, params, w, KEY))
    value, metrics = loss(windows)
    apply = jax.jit(lambda history: NETWORK.apply(params, history, last_only=False))
    scores = np.asarray(apply(windows[:, :-1]), np.float64)
    terms, hits = [], []
    for row in range(3):
        for t in range(4):
            now, target = int(windows[row, t]), int(windows[row, t + 1])
            if now and target:
                line = scores[row, t]
                terms.append(np.log(np.exp(line).sum()) - line[target - 1])
                hits.append(line.argmax() + 1 == target)
    assert len(terms) == 6
    assert float(value) == pytest.approx(np.mean(terms), rel=1e-4)
    assert float(metrics["hit_rate"]) == pytest.approx(np.mean(hits))
    assert float(loss(jnp.zeros((2, 5), jnp.int32))[0]) == 0

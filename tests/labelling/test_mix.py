"""Tests candidates of several proposers: the actor, popularity and uniform draws."""

import jax
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, LENGTH, SMALL, start_of, world
from function_labeller import FunctionLabeller

from ialp_jax.agents import acting
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.labelling import mix
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.labelling.imagine import imagined_params, propose, require_left, start_sessions
from ialp_jax.labelling.mix import PROPOSERS, completed
from ialp_jax.labelling.rounds import Setting, label_round
from ialp_jax.networks.heads import ActorCritic

OWN, POPULAR, UNIFORM = 1, 2, 3
K = OWN + POPULAR + UNIFORM
SHOWN = 13  # places for shown items
SESSIONS = 64
TWINS = np.array([0, *range(1, 4), *range(1, 4), *range(4, 14)], np.int32)  # items 4..6 look like items 1..3
LIKES = np.array([0, 50, 40, 30, 0, 5, 4, 3, 2, 1, 0, 0, 9, 8, 7, 6, 5])
KEY = jax.random.key(3)


@pytest.fixture(params=[False, True], ids=["dense", "streamed"])
def streamed(request, monkeypatch):
    """Both ways to draw: with logits of all items, and streamed, as for huge catalogues."""
    if request.param:
        monkeypatch.setattr(acting, "STREAM_FROM", 0)
    ways, draw = [], mix._draw
    monkeypatch.setattr(mix, "_draw", lambda *rest: ways.append(rest[0]) or draw(*rest))
    yield request.param
    assert set(ways) == {request.param}


def sessions_of(seed, left, alike):
    """Shown items and items of the actor, at random, so that exactly ``left`` other words remain unseen."""
    random = np.random.default_rng(seed)
    words = np.arange(ITEMS + 1) if alike is None else alike
    shown, own = np.zeros((SESSIONS, SHOWN), np.int32), np.zeros((SESSIONS, OWN), np.int32)
    for row in range(SESSIONS):
        order = random.permutation(np.unique(words[1:]))
        items = [random.choice(np.flatnonzero(words == word)) for word in order]
        own[row] = items[:OWN]
        seen = items[OWN : len(items) - left]
        shown[row, random.choice(SHOWN, len(seen), replace=False)] = seen
    return shown, own


def draw(shown, own, alike=None, popular=POPULAR, uniform=UNIFORM, key=KEY):
    return completed(ACTOR_CRITIC, own, popular, uniform, LIKES, shown, key, alike)


@pytest.mark.parametrize("alike", [None, TWINS], ids=["different", "twins"])
@pytest.mark.parametrize("left", [POPULAR + UNIFORM, POPULAR + UNIFORM + 1, POPULAR + UNIFORM + 4])
def test_all_candidates_have_different_unseen_words_however_few_items_are_left(streamed, alike, left):
    words = np.arange(ITEMS + 1) if alike is None else alike
    total = len(np.unique(words[1:]))
    for seed in range(5):
        shown, own = sessions_of(seed, left, alike)
        require_left(ITEMS, K, shown, alike)
        items, proposer = draw(shown, own, alike, key=jax.random.key(seed))
        assert items.shape == proposer.shape == (SESSIONS, K)
        assert proposer.dtype == np.int8
        assert ((items >= 1) & (items <= ITEMS)).all()
        for row in range(SESSIONS):
            named = set(words[items[row]])
            assert len(named) == K
            assert not named & set(words[shown[row][shown[row] > 0]])
            assert np.bincount(proposer[row], minlength=3).tolist() == [OWN, POPULAR, UNIFORM]
            assert items[row][proposer[row] == 0].tolist() == own[row].tolist()
            if left == POPULAR + UNIFORM:
                assert len(named) + len(set(words[shown[row]]) - {0}) == total  # nothing is left


def test_popular_items_are_drawn_in_proportion_to_their_likes_and_uniform_ones_equally(streamed):
    count = 20_000
    shown = np.tile(np.array([[1, 2, 0]], np.int32), (count, 1))
    own = np.full((count, 1), 3, np.int32)
    allowed = ~np.isin(np.arange(ITEMS + 1), [0, 1, 2, 3])
    for sizes, weights in (((1, 0), LIKES), ((0, 1), np.ones(ITEMS + 1))):
        items, proposer = draw(shown, own, None, *sizes)
        share = np.bincount(items[proposer > 0], minlength=ITEMS + 1) / count
        expected = weights * allowed / (weights * allowed).sum()
        np.testing.assert_allclose(share, expected, atol=0.015)  # four standard deviations


def test_items_without_likes_are_popular_only_if_no_others_are_left(streamed):
    liked = int((LIKES > 0).sum())
    shown, own = np.zeros((SESSIONS, 1), np.int32), np.zeros((SESSIONS, 0), np.int32)
    items, _ = draw(shown, own, None, liked, 0)
    assert (LIKES[items] > 0).all()
    items, _ = draw(shown, own, None, ITEMS, 0)
    assert (np.sort(items) == np.arange(1, ITEMS + 1)).all()


def test_the_place_of_a_candidate_does_not_tell_its_proposer(streamed):
    count = 6_000
    shown, own = np.zeros((count, 1), np.int32), np.full((count, OWN), 3, np.int32)
    _, proposer = draw(shown, own)
    for number, size in enumerate((OWN, POPULAR, UNIFORM)):
        np.testing.assert_allclose((proposer == number).mean(0), size / K, atol=0.03)


def test_the_key_determines_the_candidates_and_their_order(streamed):
    shown, own = sessions_of(0, 9, None)
    for first, second in zip(draw(shown, own), draw(shown, own), strict=True):
        np.testing.assert_array_equal(first, second)
    for sizes in ((POPULAR, 0), (0, UNIFORM)):  # the key of each proposer, not only that of the order
        one, other = (np.sort(draw(shown, own, None, *sizes, key=k).items) for k in (KEY, jax.random.key(4)))
        assert (one != other).any()


@pytest.mark.parametrize("alike", [None, TWINS])
def test_a_session_with_too_few_items_left_is_refused(alike):
    shown, _ = sessions_of(0, POPULAR + UNIFORM - 1, alike)
    with pytest.raises(
        InputError, match=rf"^--config\.labelling\.candidates={K}: a session has seen so many"
    ):
        require_left(ITEMS, K, shown, alike)


def test_a_huge_catalogue_is_streamed_and_keeps_the_rules(monkeypatch):
    num_items, sessions, random = 140_000, 64, np.random.default_rng(0)  # more than 2^23 pairs
    likes = np.zeros(num_items + 1, int)
    liked = random.choice(np.arange(1, num_items + 1), 200, replace=False)
    likes[liked] = random.integers(1, 9, 200)
    shown = np.stack([random.choice(liked, 30, replace=False) for _ in range(sessions)]).astype(np.int32)
    own = np.stack([random.choice(np.setdiff1d(liked, row), 4, replace=False) for row in shown])
    ways, draw = [], mix._draw
    monkeypatch.setattr(mix, "_draw", lambda *rest: ways.append(rest[0]) or draw(*rest))
    network = ActorCritic(num_items, LENGTH, SMALL)
    items, proposer = completed(network, own.astype(np.int32), 5, 5, likes, shown, KEY)
    assert set(ways) == {jax.default_backend() == "cpu"}
    for row in range(sessions):
        assert len(set(items[row])) == 14
        assert not set(items[row]) & set(shown[row])
    assert (likes[items[proposer == 1]] > 0).all()
    assert (likes[items[proposer == 2]] == 0).mean() > 0.9
    assert len(set(items[proposer == 2])) > 300  # uniform draws of different sessions differ


SHARES = [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.3, 0.3), (0.5, 0.5), (1.0, 0.0)]


@pytest.mark.parametrize("alike", [None, TWINS], ids=["different", "twins"])
@pytest.mark.parametrize(("popular", "uniform"), SHARES)
def test_a_round_has_the_candidates_that_the_shares_ask_for(popular, uniform, alike):
    config = LabellingConfig(
        rounds=1, sessions=8, steps=7, candidates=4, popular_share=popular, uniform_share=uniform
    )
    params = imagined_params(world("patience"), np.array([[0, 0, 0, 1], [0, 0, 2, 3]], np.int32))
    setting = Setting(ENV, params, ACTOR_CRITIC, config, alike, LIKES)
    actor = ACTOR_CRITIC.init(jax.random.key(0), start_of(0).history)
    sessions = start_sessions(ENV, params, KEY, 8, 4)
    own = propose(ACTOR_CRITIC, 4, actor, sessions.observation, stream(KEY, "propose", 0), alike)[0]
    labeller = FunctionLabeller(lambda prompts: prompts.candidates.argmin(1) + 1)
    _, arrays = label_round(setting, actor, sessions, labeller, KEY)
    words = np.arange(ITEMS + 1) if alike is None else alike
    for items, proposer, shown in zip(*(arrays[n] for n in ("candidates", "proposer", "shown")), strict=True):
        assert np.bincount(proposer, minlength=3).tolist() == list(config.proposed_by())
        assert len(set(words[items])) == 4
        assert not set(words[items]) & set(words[shown[shown > 0]])
    if popular == uniform == 0:  # then the candidates are in the order of the actor's draws
        np.testing.assert_array_equal(arrays["candidates"][:8], own)


@pytest.mark.parametrize(
    ("candidates", "popular", "uniform", "counts"),
    [
        (20, 0.0, 0.0, (20, 0, 0)),
        (20, 0.25, 0.1, (13, 5, 2)),
        (10, 0.25, 0.25, (4, 3, 3)),  # halves are rounded up
        (5, 0.5, 0.5, (0, 3, 2)),  # together they never exceed K
        (20, 0.001, 0.001, (18, 1, 1)),  # a share above 0 gives a candidate
        (2, 0.0, 1.0, (0, 0, 2)),
    ],
)
def test_shares_are_rounded_as_documented(candidates, popular, uniform, counts):
    config = LabellingConfig(candidates=candidates, popular_share=popular, uniform_share=uniform)
    config.check()
    assert config.proposed_by() == counts
    assert len(counts) == len(PROPOSERS)


def test_shares_above_1_are_refused():
    with pytest.raises(InputError, match=r"popular_share=0\.6 and \.uniform_share=0\.5 must not exceed 1"):
        LabellingConfig(popular_share=0.6, uniform_share=0.5).check()
    with pytest.raises(InputError, match=r"^--config\.labelling\.uniform_share=1\.1 must be in"):
        LabellingConfig(uniform_share=1.1).check()
    LabellingConfig(popular_share=0.9, uniform_share=0.1).check()

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, HORIZON, ITEMS, LENGTH, start_of, world
from function_labeller import FunctionLabeller

from ialp_jax.agents import acting
from ialp_jax.errors import InputError
from ialp_jax.labelling import imagine
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.labelling.imagine import (
    chosen_item,
    imagined_params,
    start_sessions,
)
from ialp_jax.labelling.rounds import Setting, label_round
from ialp_jax.labelling.transitions import labelled_transitions, training_data
from ialp_jax.types import Labels

SESSIONS, STEPS, K = 5, 12, 3
CONFIG = LabellingConfig(rounds=1, sessions=SESSIONS, steps=STEPS, candidates=K)
# Imagined sessions start from these three histories, which share no item. Patience is 2.
WINDOWS = np.array([[0, 0, 0, 1], [0, 0, 2, 3], [0, 4, 5, 6]], np.int32)
PARAMS = imagined_params(world("patience"), WINDOWS)
SETTING = Setting(ENV, PARAMS, ACTOR_CRITIC, CONFIG)
NONE, INVALID = 0, -1


def labels_of(histories, proposed, choice):
    return Labels(histories, proposed, np.asarray(choice, np.int32), proposed.astype(np.float32))


def always(choice):
    return FunctionLabeller(lambda prompts: np.full(SESSIONS, choice))


def start():
    return start_sessions(ENV, PARAMS, jax.random.key(7), SESSIONS)


@pytest.fixture(scope="module")
def actor():
    return jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), start_of(0).history)


def round_of(actor, labeller, key=0, users=None, on_step=lambda: None):
    users = start() if users is None else users
    return label_round(SETTING, actor, users, labeller, jax.random.key(key), on_step)


def mixed(seed):
    """A labeller that draws labels of all kinds at random: invalid, none, and any candidate."""
    random = np.random.default_rng(seed)
    return FunctionLabeller(lambda prompts: random.integers(-1, K + 1, SESSIONS))


@pytest.fixture(scope="module")
def labelled(actor):
    """Labels one round with all kinds of labels. Returns the sessions after it, and its arrays."""
    return round_of(actor, mixed(0))


def by_session(arrays):
    """Reshapes arrays of a round: name -> [steps, sessions, ...]."""
    return {name: rows.reshape(STEPS, SESSIONS, *rows.shape[1:]) for name, rows in arrays.items()}


def test_a_label_determines_the_item_and_whether_it_is_liked():
    proposed = np.array([[4, 5, 6], [7, 8, 9], [1, 2, 3]], np.int32)
    item, liked = chosen_item(labels_of(np.zeros((3, 4), np.int32), proposed, [2, NONE, 1]))
    assert item.tolist() == [5, 7, 1]  # for the label "none", the first candidate counts as recommended
    assert liked.tolist() == [True, False, True]


def test_arrays_of_a_round(labelled):
    _, arrays = labelled
    rows = STEPS * SESSIONS
    assert {name: array.shape for name, array in arrays.items()} == {
        "histories": (rows, LENGTH),
        "candidates": (rows, K),
        "choice": (rows,),
        "scores": (rows, K),
        "proposer": (rows, K),
        "window": (rows,),
        "shown": (rows, LENGTH + HORIZON),
        "terminated": (rows,),
        "truncated": (rows,),
        "session": (rows,),
    }
    assert set(np.unique(arrays["choice"])) == {-1, 0, 1, 2, 3}
    np.testing.assert_array_equal(arrays["session"], np.tile(np.arange(SESSIONS), STEPS))
    assert not arrays["proposer"].any()  # by default the actor proposes all candidates
    assert arrays["window"].dtype == np.int32


def test_the_window_of_a_prompt_is_that_in_which_its_session_started(labelled):
    _, arrays = labelled
    steps = by_session(arrays)
    for s in range(SESSIONS):
        for t in range(STEPS):
            window, start = steps["window"][t, s], steps["shown"][t, s][:LENGTH]
            np.testing.assert_array_equal(start, WINDOWS[window])


def test_shown_items_are_never_proposed(labelled):
    _, arrays = labelled
    assert ((arrays["candidates"] >= 1) & (arrays["candidates"] <= ITEMS)).all()
    for proposed, shown in zip(arrays["candidates"], arrays["shown"], strict=True):
        assert len(set(proposed)) == K
        assert not set(proposed) & set(shown)


def test_sessions_follow_the_labels_and_the_simulators_patience(labelled):
    """Replays every session in plain Python."""
    users, arrays = labelled
    steps = by_session(arrays)
    assert arrays["terminated"].any()
    assert arrays["truncated"].any()
    for s in range(SESSIONS):
        patience, count = 2, 0
        for t in range(STEPS):
            history, shown = steps["histories"][t, s].tolist(), steps["shown"][t, s].tolist()
            if count == 0:
                patience = 2
                assert history in WINDOWS.tolist()
                assert shown == history + [0] * HORIZON
            choice, proposed = steps["choice"][t, s], steps["candidates"][t, s].tolist()
            ended = False
            if choice != INVALID:
                item = proposed[max(choice - 1, 0)]
                shown[LENGTH + count] = item
                count += 1
                history = [*history[1:], item] if choice > 0 else history
                patience = min(patience + 1, 2) if choice > 0 else patience - 1
                ended = patience <= 0 or count >= HORIZON
            assert steps["terminated"][t, s] == (choice != INVALID and patience <= 0)
            assert steps["truncated"][t, s] == (ended and patience > 0)
            if ended:
                count = 0
                continue
            last = t == STEPS - 1
            after = users.observation if last else None
            assert (after.history[s] if last else steps["histories"][t + 1, s]).tolist() == history
            assert (after.shown[s] if last else steps["shown"][t + 1, s]).tolist() == shown


def test_invalid_labels_change_no_session_and_give_no_transitions(actor):
    before = start()
    after, arrays = round_of(actor, always(INVALID), users=before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not (arrays["terminated"] | arrays["truncated"]).any()
    assert len(labelled_transitions(arrays)[1]) == 0
    # Each step draws new candidates for its prompts.
    assert len({tuple(row) for row in by_session(arrays)["candidates"][:, 0]}) > STEPS // 2


def test_users_who_like_nothing_leave(actor):
    _, arrays = round_of(actor, always(NONE))
    ends = by_session(arrays)["terminated"]
    np.testing.assert_array_equal(ends, np.arange(STEPS)[:, None] % 2 == np.ones((1, SESSIONS)))


def test_sessions_of_users_who_like_everything_end_at_the_horizon(actor):
    steps = []
    _, arrays = round_of(actor, always(K), on_step=lambda: steps.append(1))
    assert len(steps) == STEPS
    ends = by_session(arrays)["truncated"]
    np.testing.assert_array_equal(
        ends, np.isin(np.arange(STEPS), [5, 11])[:, None] & np.ones((1, SESSIONS), bool)
    )
    assert not arrays["terminated"].any()


@pytest.mark.parametrize("horizon", [1, 4, HORIZON])
@pytest.mark.parametrize("sessions", [3, 8, 30])
def test_staggered_sessions_start_afresh_in_equal_parts_in_each_step(actor, horizon, sessions):
    """Users who like everything never leave. So each session is cut, and the next has the whole horizon."""
    config = LabellingConfig(rounds=1, sessions=sessions, steps=STEPS, candidates=K, horizon=horizon)
    users = start_sessions(ENV, PARAMS, jax.random.key(7), sessions, horizon, staggered=True)
    labeller = FunctionLabeller(lambda prompts: np.full(sessions, K))
    _, arrays = label_round(SETTING._replace(config=config), actor, users, labeller, jax.random.key(0))
    ends = arrays["truncated"].reshape(STEPS, sessions)
    assert not arrays["terminated"].any()
    assert set(ends.sum(1)) <= {sessions // horizon, -(-sessions // horizon)}
    for s in range(sessions):
        places = np.flatnonzero(ends[:, s])
        assert places[0] == users.horizon[s] - 1 < horizon
        assert (np.diff(places) == horizon).all()
    # The first sessions have only likes of the log, too.
    assert {tuple(row) for row in arrays["histories"][:sessions]} <= {tuple(row) for row in WINDOWS}


def test_staggered_sessions_differ_only_in_their_horizons():
    together, apart = (
        start_sessions(ENV, PARAMS, jax.random.key(7), 40, 5, staggered) for staggered in (False, True)
    )
    for one, other in zip(jax.tree.leaves(together[:2]), jax.tree.leaves(apart[:2]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (together.horizon == 5).all()
    np.testing.assert_array_equal(np.sort(apart.horizon), np.repeat(np.arange(1, 6), 8))
    assert (np.diff(apart.horizon) != 0).any()
    other_key = start_sessions(ENV, PARAMS, jax.random.key(8), 40, 5, staggered=True)
    assert (other_key.horizon != apart.horizon).any()
    few = start_sessions(ENV, PARAMS, jax.random.key(7), 2, 10, staggered=True)
    assert sorted(few.horizon.tolist()) == [1, 6]  # few sessions are spread over the whole horizon, too


def test_users_who_like_nothing_leave_before_a_horizon_and_are_not_truncated_at_it(actor):
    for horizon, terminated, truncated in ((1, 0, STEPS), (2, STEPS // 2, 0), (3, STEPS // 2, 0)):
        config = LabellingConfig(rounds=1, sessions=SESSIONS, steps=STEPS, candidates=K, horizon=horizon)
        users = start_sessions(ENV, PARAMS, jax.random.key(7), SESSIONS, horizon)
        setting = SETTING._replace(config=config)
        _, arrays = label_round(setting, actor, users, always(NONE), jax.random.key(0))
        assert arrays["terminated"].sum() == terminated * SESSIONS
        assert arrays["truncated"].sum() == truncated * SESSIONS


@pytest.mark.parametrize(
    ("horizon", "longest", "steps"), [(0, 50, 50), (10, 50, 10), (50, 10, 10), (9, 9, 9)]
)
def test_the_horizon_is_at_most_that_of_the_simulator(horizon, longest, steps):
    assert LabellingConfig(horizon=horizon).session_horizon(longest) == steps


def test_transitions_are_the_valid_labels(labelled):
    _, arrays = labelled
    transitions, rows = labelled_transitions(arrays)
    np.testing.assert_array_equal(rows, np.flatnonzero(arrays["choice"] != INVALID))
    np.testing.assert_array_equal(transitions.reward, arrays["choice"][rows] > 0)
    proposed = arrays["candidates"][rows]
    column = np.maximum(arrays["choice"][rows] - 1, 0)
    np.testing.assert_array_equal(transitions.action + 1, proposed[np.arange(len(rows)), column])
    np.testing.assert_array_equal(transitions.terminated, arrays["terminated"][rows])
    np.testing.assert_array_equal(transitions.truncated, arrays["truncated"][rows])
    # The next observation is that of the session's next step, unless the session ended.
    place = {(t, s): t * SESSIONS + s for t in range(STEPS) for s in range(SESSIONS)}
    checked = 0
    for index, row in enumerate(rows):
        t, s = divmod(row, SESSIONS)
        after = jax.tree.map(lambda leaf, index=index: leaf[index], transitions.next_observation)
        if transitions.terminated[index] or transitions.truncated[index]:
            assert after.shown[LENGTH:].any()  # the observation of the ended session, not of the next
            assert transitions.action[index] + 1 in after.shown
        elif t + 1 < STEPS:
            following = place[t + 1, s]
            np.testing.assert_array_equal(after.history, arrays["histories"][following])
            np.testing.assert_array_equal(after.shown, arrays["shown"][following])
            checked += 1
    assert checked > 10
    assert all(
        leaf.dtype == np.int32
        for leaf in (*transitions.observation, *transitions.next_observation, transitions.action)
    )


def test_a_mean_score_leaves_out_scores_that_are_not_finite(labelled):
    _, arrays = labelled
    scores = arrays["scores"].copy()
    item = arrays["candidates"][0, 0]
    scores[arrays["candidates"] == item] = -np.inf
    mean = labelled_transitions(arrays | {"scores": scores})[0].extras["mean_scores"]
    assert np.isfinite(mean).all()
    assert (mean[labelled_transitions(arrays)[0].extras["candidate_actions"] + 1 == item] == 0).all()


def test_transitions_have_all_scores_and_how_certain_the_answer_is(labelled):
    _, arrays = labelled
    transitions, rows = labelled_transitions(arrays)
    extras = transitions.extras
    np.testing.assert_array_equal(extras["candidate_actions"] + 1, arrays["candidates"][rows])
    np.testing.assert_array_equal(extras["label_scores"], arrays["scores"][rows])
    for item in np.unique(arrays["candidates"][rows]):
        here = arrays["candidates"][rows] == item
        mean = arrays["scores"][rows][here].mean()
        np.testing.assert_allclose(extras["mean_scores"][here], mean, rtol=1e-5)
    for name in ("label_weight", "label_reward"):  # without probabilities, the answer is certain
        np.testing.assert_array_equal(extras[name], transitions.reward)
        assert extras[name].dtype == np.float32
    probability = np.random.default_rng(0).random(arrays["scores"].shape, np.float32)
    soft = labelled_transitions(arrays | {"probability": probability})[0]
    np.testing.assert_array_equal(soft.extras["label_weight"], probability[rows].max(1))
    column = (arrays["candidates"][rows] == transitions.action[:, None] + 1).argmax(1)
    np.testing.assert_array_equal(soft.extras["label_reward"], probability[rows, column])
    np.testing.assert_array_equal(soft.reward, transitions.reward)  # of ialp


def test_training_data_has_the_same_shape_for_any_number_of_rows(labelled):
    _, arrays = labelled
    half = {name: rows[: STEPS // 2 * SESSIONS] for name, rows in arrays.items()}
    for part in (half, arrays):
        data, size = training_data(part, STEPS * SESSIONS)
        assert {len(leaf) for leaf in jax.tree.leaves(data)} == {STEPS * SESSIONS}
        assert size == (part["choice"] >= 0).sum()
        np.testing.assert_array_equal(data.reward[:size], labelled_transitions(part)[0].reward)
        assert (data.action[size:] == 0).all()


def test_the_key_determines_the_round(actor, labelled):
    _, again = round_of(actor, mixed(0))
    for name, array in labelled[1].items():
        np.testing.assert_array_equal(array, again[name])
    _, other = round_of(actor, mixed(0), key=1)
    assert (other["candidates"] != again["candidates"]).any()


def test_candidates_come_from_the_actor(actor):
    heads = actor["params"]
    bias = jnp.zeros(ITEMS).at[jnp.array([9, 10, 11, 12, 13, 14, 15])].set(30.0)
    keen = {"params": {**heads, "actor": {**heads["actor"], "bias": bias}}}
    _, arrays = round_of(keen, always(INVALID))
    assert (arrays["candidates"] >= 10).all()


def test_impossible_settings_are_refused():
    for config in (LabellingConfig(candidates=1), LabellingConfig(rounds=0), LabellingConfig(steps=0)):
        with pytest.raises(InputError, match=r"--config\.labelling\."):
            config.check()


TWINS = np.array(
    [0, *range(1, 5), *range(1, 5), *range(5, 13)], np.int32
)  # items 5..8 have the same words as items 1..4


def proposals(actor, alike, steps=STEPS):
    """Shown items and candidates of a round in which users like nothing and sessions end early."""
    config = LabellingConfig(rounds=1, sessions=SESSIONS, steps=steps, candidates=K)
    setting = SETTING._replace(config=config, alike=alike)
    _, arrays = label_round(setting, actor, start(), always(NONE), jax.random.key(0))
    return arrays["shown"], arrays["candidates"]


def test_no_prompt_offers_the_same_words_twice_or_the_words_of_a_shown_item(actor):
    shown, proposed = proposals(actor, TWINS)
    twice = 0
    for past, items in zip(shown, proposed, strict=True):
        assert len(set(TWINS[items])) == K
        assert not set(TWINS[items]) & set(TWINS[past[past > 0]])
    shown, proposed = proposals(actor, None)
    for past, items in zip(shown, proposed, strict=True):
        twice += len(set(TWINS[items])) < K or bool(set(TWINS[items]) & set(TWINS[past[past > 0]]))
    assert twice > 5, "without the rule, prompts would have twins"


def test_without_twins_the_same_items_are_proposed(actor):
    apart = proposals(actor, np.arange(ITEMS + 1, dtype=np.int32))
    for with_alike, without_alike in zip(apart, proposals(actor, None), strict=True):
        np.testing.assert_array_equal(with_alike, without_alike)


@pytest.mark.parametrize("alike", [None, TWINS])
def test_huge_catalogues_are_streamed_by_the_same_rules(actor, alike, monkeypatch):
    calls, streamed = [], imagine.streamed
    monkeypatch.setattr(imagine, "streamed", lambda *rest: calls.append(rest) or streamed(*rest))
    monkeypatch.setattr(acting, "STREAM_FROM", 0)
    imagine._draw.clear_cache()
    shown, proposed = proposals(actor, alike)
    imagine._draw.clear_cache()
    assert calls
    words = np.arange(ITEMS + 1) if alike is None else alike
    for past, items in zip(shown, proposed, strict=True):
        assert len(set(words[items])) == K
        assert not set(words[items]) & set(words[past[past > 0]])


def test_remembered_histories_do_not_change_the_candidates(actor, labelled, monkeypatch):
    monkeypatch.setattr(imagine, "empty_memory", lambda *rest: None)
    for name, array in round_of(actor, mixed(0))[1].items():
        np.testing.assert_array_equal(array, labelled[1][name])


@pytest.mark.parametrize("alike", [None, TWINS])
def test_remembered_block_numbers_do_not_change_the_candidates(actor, alike, monkeypatch):
    monkeypatch.setattr(acting, "STREAM_FROM", 0)
    imagine._draw.clear_cache()
    setting, rounds = SETTING._replace(alike=alike), []
    for forgets in (False, True):
        if forgets:
            monkeypatch.setattr(imagine, "empty_memory", lambda *rest: None)
        rounds.append(label_round(setting, actor, start(), mixed(0), jax.random.key(0), lambda: None)[1])
    imagine._draw.clear_cache()
    for name, array in rounds[0].items():
        np.testing.assert_array_equal(array, rounds[1][name])
    assert (rounds[0]["choice"] > 0).any()  # some histories changed


@pytest.mark.parametrize("alike", [None, np.r_[0, np.ones(10, np.int32), np.arange(2, 8)]])
def test_a_session_that_has_shown_nearly_all_items_is_refused(actor, alike):
    """Earlier versions offered items of the history as candidates in this case."""
    config = LabellingConfig(rounds=1, sessions=SESSIONS, steps=1, candidates=14 if alike is None else 7)
    setting = SETTING._replace(config=config, alike=alike)
    with pytest.raises(InputError, match=r"^--config\.labelling\.candidates=\d+: a session has seen so many"):
        label_round(setting, actor, start(), mixed(0), jax.random.key(0))

"""Tests the calibrated labeller with made-up label sources, in a world whose like probabilities are known."""

import dataclasses

import numpy as np
import pytest
import small_world
from scipy.special import expit

from ialp_jax.data.splits import Windows, windows
from ialp_jax.errors import InputError
from ialp_jax.labelling import quality
from ialp_jax.labelling.calibrated import Calibrated, HeldOut
from ialp_jax.labelling.sources import FoldIn, Logged, Popularity, Random, Truth
from ialp_jax.training.offline import offline_windows
from ialp_jax.types import Histories, Prompts, UserModel

USERS, ITEMS, LENGTH, K = 60, 80, 5, 8
RANDOM = np.random.default_rng(0)
TASTE = RANDOM.normal(size=(USERS, ITEMS + 1))
ODDS = -2.0 + 1.3 * TASTE  # log-odds of a like, [U, N + 1]
LIKES = [RANDOM.permutation(np.flatnonzero(RANDOM.random(ITEMS) < expit(row[1:])) + 1) for row in ODDS]
HISTORIES = Histories(
    np.concatenate(LIKES).astype(np.int32), np.cumsum([0, *map(len, LIKES)]).astype(np.int64)
)
HELD_OUT = np.arange(0, USERS, 3)


def held_out(ordered=False, alike=None):
    starts = windows(HISTORIES, np.arange(USERS), LENGTH)
    rows = np.flatnonzero(np.isin(starts.user, HELD_OUT))
    return HeldOut(starts, rows, HISTORIES, ordered, alike)


class Knowing:
    """A label source that knows the log-odds, on another scale; some of its answers may be invalid."""

    def __init__(self, name="llm", invalid=lambda prompts: np.zeros(len(prompts.histories), bool)):
        self.name, self.invalid = name, invalid
        self.prompts, self.counted, self.entered = [], 0, 0

    def __enter__(self):
        self.entered += 1
        return self

    def __exit__(self, *error):
        self.entered -= 1

    def evidence(self, prompts, counted):
        self.prompts.append(prompts)
        self.counted += len(prompts.histories) if counted else 0
        user = held_out().starts.user[prompts.windows]
        scores = 7 + 3 * TASTE[user[:, None], prompts.candidates]
        scores[self.invalid(prompts)] = np.nan
        return scores

    def require_valid(self):
        pass

    def manifest(self):
        counts = {"prompts": self.counted, "valid": self.counted, "none": 99, "invalid": {"empty": 0}}
        return {"model": self.name, "counts": counts, "threshold": 1.5, "none_rule": "youden"}


def proposals(seed, histories, windows_of=None):
    """K different items outside each history, uniformly drawn."""
    random = np.random.default_rng(seed)
    rows = [np.setdiff1d(np.arange(1, ITEMS + 1), row) for row in histories]
    return np.stack([random.choice(row, K, replace=False) for row in rows]).astype(np.int32)


def labeller(*sources, questions=600, seed=0, **changes):
    sources = sources or (Knowing(),)
    named = {source.name: source for source in sources}
    popularity = np.bincount(HISTORIES.items, minlength=ITEMS + 1)
    return Calibrated(named, held_out(), popularity, questions, seed, **changes)


def prompts(count, seed=9):
    """Prompts from windows of all users."""
    starts = held_out().starts
    rows = np.random.default_rng(seed).integers(0, len(starts.user), count)
    histories = starts.history[rows]
    return Prompts(histories, proposals(seed, histories), rows)


def calibrated(*sources, rounds=1, **changes):
    made = labeller(*sources, **changes)
    for number in range(rounds):
        made.calibrate(lambda histories, n=number: proposals(n, histories))
    return made


def test_probabilities_agree_with_the_world_for_prompts_as_the_actor_proposes_them():
    made, asked = calibrated(questions=4000), prompts(3000)
    labels = made.label(asked)
    truth = expit(ODDS[held_out().starts.user[asked.windows][:, None], asked.candidates])
    # Likes inside the history are known, and all other likes appear later in the log.
    predicted = expit(labels.scores)
    assert labels.scores.dtype == np.float32
    order = np.argsort(predicted, axis=None)
    for part in np.array_split(order, 10):
        assert predicted.ravel()[part].mean() == pytest.approx(truth.ravel()[part].mean(), abs=0.03)
    best = np.take_along_axis(truth, predicted.argmax(1)[:, None], 1)
    assert np.mean(labels.choice > 0) == pytest.approx(best.mean(), abs=0.03)


def test_the_choice_is_the_most_probable_candidate_and_none_has_the_other_probability():
    made, one = calibrated(), prompts(1)
    many = Prompts(*(np.repeat(array, 4000, 0) for array in one))
    labels = made.label(many)
    column = int(labels.scores[0].argmax()) + 1
    assert set(labels.choice.tolist()) == {0, column}
    assert labels.choice.dtype == np.int32
    chance = expit(labels.scores[0].max())
    assert np.mean(labels.choice > 0) == pytest.approx(chance, abs=0.03)
    assert (labels.choice != made.label(many).choice).any()  # another request draws other numbers


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_questions():
    results = []
    for seed in (0, 0, 1):
        source = Knowing()
        made = calibrated(source, rounds=2, seed=seed)
        results.append((made.label(prompts(50)), source.prompts))
    for one, other in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_array_equal(one, other)
    first, _, third = (asked for _, asked in results)
    assert not np.array_equal(first[0].windows, third[0].windows)
    assert not np.array_equal(first[0].windows, first[1].windows)  # each round has its own questions


def test_a_source_of_any_name_goes_through_the_same_pipeline():
    labels = [calibrated(Knowing(name)).label(prompts(200)) for name in ("llm", "log_model")]
    for one, other in zip(*labels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_sources_are_joined_and_one_that_adds_nothing_changes_little():
    class Noise(Knowing):
        def evidence(self, prompts, counted):
            super().evidence(prompts, counted)
            return np.random.default_rng(len(self.prompts)).normal(size=prompts.candidates.shape)

    alone = calibrated(questions=3000).label(prompts(500))
    both = calibrated(Knowing(), Noise("log_model"), questions=3000)
    joined = both.label(prompts(500))
    np.testing.assert_allclose(joined.scores, alone.scores, atol=0.5)
    noise = calibrated(Noise("log_model"), questions=3000).label(prompts(500))
    assert noise.scores.max() < 0 < alone.scores.max()
    assert both.manifest()["source"] == "llm+log_model"


def test_questions_are_about_held_out_users_and_only_they_fill_every_second_question_of_the_first_round():
    source = Knowing()
    made = calibrated(source, rounds=2, questions=100)
    starts = held_out().starts
    for number, asked in enumerate(source.prompts):
        assert set(starts.user[asked.windows]) <= set(HELD_OUT)
        np.testing.assert_array_equal(asked.histories, starts.history[asked.windows])
        has_next = (asked.candidates == starts.target[asked.windows][:, None]).any(1)
        as_proposed = (asked.candidates == proposals(number, asked.histories)).all(1)
        if number == 0:
            assert has_next[1::2].all()
        assert as_proposed[0::2].all()
        assert as_proposed[1::2].all() == (number == 1)
        assert all(len(set(row)) == K for row in asked.candidates.tolist())
    rounds = made.manifest()["likes"]["rounds"]
    assert [record["questions_with_next_item"] for record in rounds] == [50, 0]


def test_no_window_is_asked_twice_before_all_were_asked():
    made = held_out()
    count = len(made.rows)
    assert sorted(made.draw(count, 0, 0).tolist()) == made.rows.tolist()
    assert np.bincount(made.draw(2 * count + 1, 0, 0)).max() == 3
    assert not np.array_equal(made.draw(5, 0, 0), made.draw(5, 0, 1))


def test_likes_are_later_ones_if_the_data_have_an_order_in_time():
    likes = Histories(np.array([4, 2, 7, 5], np.int32), np.array([0, 4]))
    starts = Windows(np.array([[2]], np.int32), np.array([7], np.int32), np.array([0], np.int32))
    candidates = np.array([[5, 4, 3, 7]])
    ordered = HeldOut(starts, np.array([0]), likes, True).outcomes(np.array([0]), candidates)
    np.testing.assert_array_equal(ordered, [[[1, 0, 0, 1]], [[1, 0, 1, 1]]])  # item 4 was liked before
    unordered = HeldOut(starts, np.array([0]), likes, False).outcomes(np.array([0]), candidates)
    np.testing.assert_array_equal(unordered, [[[1, 1, 0, 1]], [[1, 1, 1, 1]]])


def test_a_next_item_replaces_the_candidate_with_the_same_words():
    alike = np.array([0, 1, 2, 3, 4, 5, 2, 7])  # items 2 and 6
    starts = Windows(
        np.array([[1], [1], [1], [6]], np.int32), np.array([5, 6, 7, 2], np.int32), np.zeros(4, np.int32)
    )
    likes = Histories(np.array([1, 5, 6, 7, 2], np.int32), np.array([0, 5]))
    made = HeldOut(starts, np.arange(4), likes, True, alike)
    candidates = np.tile(np.array([[2, 3, 4]], np.int32), (4, 1))
    changed, which = made.with_next_items(np.arange(4), candidates)
    np.testing.assert_array_equal(changed, [[2, 3, 4], [6, 3, 4], [2, 3, 4], [2, 3, 4]])
    np.testing.assert_array_equal(which, [False, True, False, False])  # the last history has its words
    changed, which = made._replace(alike=None).with_next_items(np.arange(4), candidates)
    np.testing.assert_array_equal(changed, [[2, 3, 4], [2, 3, 6], [2, 3, 4], [2, 3, 4]])
    np.testing.assert_array_equal(which, [False, True, False, True])  # item 2 replaces itself


@pytest.mark.parametrize(("drop", "choice"), [(True, -1), (False, 0)])
def test_a_prompt_without_a_valid_answer_gets_no_label_or_none(drop, choice):
    made = calibrated(Knowing(invalid=lambda asked: asked.histories[:, -1] % 5 == 0), drop_invalid=drop)
    asked = prompts(300)
    labels, invalid = made.label(asked), asked.histories[:, -1] % 5 == 0
    assert 0 < invalid.sum() < 300
    assert (labels.choice[invalid] == choice).all()
    assert (labels.choice[~invalid] >= 0).all()
    assert np.isfinite(labels.scores).all()
    assert expit(labels.scores[invalid]).max() < 1e-9


def test_the_manifest_counts_labels_but_no_questions_and_leaves_out_the_threshold():
    source = Knowing()
    made = calibrated(source)
    labels = [made.label(prompts(30, seed)) for seed in (1, 2)]
    made.calibrate(lambda histories: proposals(1, histories))
    labels.append(made.label(prompts(40, 3)))
    manifest = made.manifest()
    none = [int(np.sum(one.choice == 0)) for one in labels]
    assert manifest["counts"] == {"prompts": 100, "valid": 100, "none": sum(none), "invalid": {"empty": 0}}
    shares = [record["none_share"] for record in manifest["likes"]["rounds"]]
    np.testing.assert_allclose(shares, [sum(none[:2]) / 60, none[2] / 40])
    assert not {"threshold", "none_rule"} & manifest.keys()
    facts = dict(quality.calibration(manifest))
    assert facts["none by round"].count("%") == 2
    assert "log-odds of a like, llm" in facts


def test_the_cautions_of_the_calibration_reach_the_manifest():
    made = calibrated(questions=2)
    made.label(prompts(3))
    assert any("fewer than 10" in caution for caution in made.manifest()["cautions"])


def test_sources_are_closed_if_a_later_one_cannot_open():
    class Broken(Knowing):
        def __enter__(self):
            raise InputError("no model")

    first = Knowing()
    with pytest.raises(InputError, match="no model"), labeller(first, Broken("log_model")):
        pass
    assert first.entered == 0
    with labeller(first):
        assert first.entered == 1
    assert first.entered == 0


def test_without_windows_of_held_out_users_there_is_one_clear_error():
    dataset = small_world.dataset()
    starts = offline_windows(dataset, LENGTH, 0)
    assert set(starts.user[HeldOut.of(dataset, starts, starts.user[:1], None).rows]) == {starts.user[0]}
    with pytest.raises(InputError, match=r"no held-out offline user has two likes; raise .*holdout$"):
        HeldOut.of(dataset, starts, np.array([10**6]), None)


MODEL = UserModel(
    RANDOM.normal(size=(USERS, 3)).astype(np.float32),
    RANDOM.normal(size=(ITEMS + 1, 3)).astype(np.float32),
    np.zeros(ITEMS + 1, np.float32),
    np.array([-3.0, 3.0]),
    np.array([-3.0, 3.0]),
)
STARTS = held_out().starts
RULES = {
    "popularity": lambda: Popularity(0, np.arange(ITEMS + 1), 0.2),
    "random": lambda: Random(0, 0.2),
    "logged": lambda: Logged(0, STARTS, HISTORIES, ordered=True),
    "truth": lambda: Truth(0, STARTS, MODEL),
    "fold_in": lambda: FoldIn(0, STARTS, MODEL, 0.2),
}


@pytest.mark.parametrize("name", RULES)
def test_the_evidence_of_a_rule_is_its_finite_score_and_is_counted_on_request(name):
    asked, rule = prompts(40), RULES[name]()
    scores = RULES[name]().label(asked).scores
    found = rule.evidence(asked, counted=False)
    np.testing.assert_allclose(found, np.where(np.isneginf(scores), -30, scores), rtol=1e-5, atol=1e-6)
    assert np.isneginf(scores).any() == (name == "logged")
    assert rule.manifest()["counts"]["prompts"] == 0
    rule.evidence(asked, counted=True)
    assert rule.manifest()["counts"]["prompts"] == 40


def test_every_request_of_a_rule_draws_new_random_numbers():
    rule, asked = Random(0, 0.2), prompts(40)
    assert (rule.evidence(asked, False) != rule.evidence(asked, False)).all()


def test_settings_that_cannot_work_are_refused():
    from ialp_jax.labelling.config import LabellingConfig

    for changes, message in (
        (
            {"source": "llm+log_model"},
            r"llm\+log_model needs --config\.labelling\.calibration=logistic",
        ),
        ({"calibration_questions": 5}, "acts only with calibration=logistic"),
        ({"calibration": "platt"}, "must be one of none, logistic"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            dataclasses.replace(LabellingConfig(), **changes).check()
        assert "\n" not in str(caught.value)
    LabellingConfig(source="llm+log_model", calibration="logistic").check()

import numpy as np
import pytest

from ialp_jax.data.splits import Windows, windows
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import BOTH, LLM, LOG_MODEL, SOURCES, LabellingConfig
from ialp_jax.labelling.sources import FoldIn, Logged, Popularity, Random, Truth, rule_labeller
from ialp_jax.types import Histories, Prompts, UserModel
from ialp_jax.users.predict import like_probability

# User 0 liked 1, 2, 5, 9 in this order, user 1 liked 4, 3, 8.
HISTORIES = Histories(np.array([1, 2, 5, 9, 4, 3, 8], np.int32), np.array([0, 4, 7]))
STARTS = windows(HISTORIES, np.array([0, 1]), 3)  # the targets are the items 2, 5, 9, 3, 8
PROMPTS = 2000
# User 0 likes item 3, user 1 item 1; both are indifferent to item 2.
MODEL = UserModel(
    np.eye(2, dtype=np.float32),
    np.array([[0, 0], [-1, 1], [0, 0], [1, -1]], np.float32),
    np.zeros(4, np.float32),
    np.array([-1.0, 1.0]),
    np.array([-2.0, 2.0]),
)


def ask(source, candidates, rows, histories=None):
    candidates = np.asarray(candidates, np.int32)
    histories = np.zeros((len(candidates), 3), np.int32) if histories is None else np.asarray(histories)
    labels = source.label(Prompts(histories, candidates, np.asarray(rows)))
    np.testing.assert_array_equal(labels.candidates, candidates)
    assert labels.scores.shape == candidates.shape
    assert labels.choice.dtype == np.int32
    return labels


def test_popularity_chooses_the_most_liked_and_answers_none_for_the_least_liked():
    popularity = np.array([0, 9, 2, 5, 1, 0, 7, 0, 0, 0, 3])
    prompts = [[4, 2], [6, 1], [10, 3], [5, 7], [2, 10]]
    assert ask(Popularity(0, popularity, 0.0), prompts, range(5)).choice.tolist() == [2, 2, 2, 1, 2]
    assert ask(Popularity(0, popularity, 0.4), prompts, range(5)).choice.tolist() == [0, 2, 2, 0, 2]


def test_ties_of_popularity_are_broken_by_chance():
    source = Popularity(0, np.ones(9), 0.5)
    none = [ask(source, [[1, 2]] * 10, range(10)).choice == 0 for _ in range(2)]
    assert none[0].sum() == none[1].sum() == 5
    assert (none[0] != none[1]).any()


def test_random_labels_are_uniform_with_the_given_share_of_none():
    rows = np.zeros(PROMPTS, int)
    choice = ask(Random(0, 0.3), [[1, 2, 3, 4]] * PROMPTS, rows).choice
    share = np.bincount(choice, minlength=5) / PROMPTS
    np.testing.assert_allclose(share, [0.3, 0.175, 0.175, 0.175, 0.175], atol=0.035)
    np.testing.assert_array_equal(choice, ask(Random(0, 0.3), [[1, 2, 3, 4]] * PROMPTS, rows).choice)
    assert (choice != ask(Random(1, 0.3), [[1, 2, 3, 4]] * PROMPTS, rows).choice).any()


def test_logged_chooses_the_next_like_of_the_user():
    source = Logged(0, STARTS, HISTORIES, ordered=True)
    prompts = [[9, 5, 3], [9, 5, 3], [9, 5, 3], [3, 9, 5], [1, 2, 3]]
    # The next like of user 0 is item 2 in window 0, item 5 in window 1, and item 9 in window 2. The next like
    # of user 1 is item 3 in window 3.
    assert ask(source, prompts, [0, 1, 2, 3, 2]).choice.tolist() == [2, 2, 1, 1, 0]
    assert ask(source, [[7, 6]], [0]).choice.tolist() == [0]
    unordered = Logged(0, STARTS, HISTORIES, ordered=False)
    assert ask(unordered, [[2, 1, 3]], [2]).choice.tolist() == [2]


def test_truth_answers_as_the_simulated_user_would():
    source = Truth(0, STARTS, MODEL)
    rows = np.repeat([0, 3], PROMPTS)  # of users 0 and 1
    labels = ask(source, [[1, 2, 3]] * (2 * PROMPTS), rows)
    best = float(like_probability(MODEL, 0, 3))
    for user, column in ((0, 3), (1, 1)):
        choice = labels.choice[rows == 3 * user]
        assert set(choice.tolist()) == {0, column}
        assert np.mean(choice == column) == pytest.approx(best, abs=0.03)


def shares(labels):
    """The preference among the candidates that ialp_soft learns at label temperature 1."""
    weights = np.exp(labels.scores.astype(np.float64))
    return weights / weights.sum(1, keepdims=True)


def test_the_softmax_of_scores_is_the_preference_of_the_source():
    popularity = np.array([0, 9, 2, 5, 0])
    labels = ask(Popularity(0, popularity, 0.0), [[1, 2, 3, 4]], [0])
    np.testing.assert_allclose(shares(labels), [np.array([10, 3, 6, 1]) / 20], rtol=1e-6)
    logged = Logged(0, STARTS, HISTORIES, ordered=True)
    np.testing.assert_allclose(shares(ask(logged, [[9, 5, 3]], [1])), [[1 / 3, 2 / 3, 0]], rtol=1e-6)
    assert np.isneginf(ask(logged, [[1, 7, 3]], [0]).scores).all()
    labels = ask(Truth(0, STARTS, MODEL), [[1, 2, 3]], [0])
    likes = np.asarray(like_probability(MODEL, 0, np.array([1, 2, 3])), np.float64)
    np.testing.assert_allclose(np.exp(labels.scores[0]), likes / (1 - likes), rtol=1e-5)


def test_random_scores_prefer_each_candidate_equally_often():
    labels = ask(Random(0, 0.0), [[1, 2, 3, 4]] * PROMPTS, np.zeros(PROMPTS, int))
    np.testing.assert_allclose(shares(labels).mean(0), 0.25, atol=0.02)
    np.testing.assert_array_equal(labels.choice - 1, labels.scores.argmax(1))
    # Gumbel noise: its mean is Euler's constant, its variance pi^2 / 6.
    assert labels.scores.mean() == pytest.approx(0.577, abs=0.04)
    assert labels.scores.var() == pytest.approx(np.pi**2 / 6, rel=0.06)


def tastes(count, loyal=1.0):
    """Windows of users 0 and 1. The share ``loyal`` of their likes fits their own taste."""
    user = np.arange(count) % 2
    likes_own_taste = np.random.default_rng(0).random((count, 3)) < loyal
    likes = np.where(likes_own_taste == (user[:, None] == 0), 3, 1).astype(np.int32)
    is_shown = np.arange(3) >= 3 - np.random.default_rng(1).integers(0, 4, (count, 1))
    return Windows(likes * is_shown, likes[:, 0], user)


def test_fold_in_depends_on_the_history_and_not_on_the_user():
    source = FoldIn(0, tastes(60), MODEL, 0.0)
    histories = [[0, 0, 3], [1, 1, 1], [0, 0, 3]]
    for row in (0, 1):  # a window of each user
        assert ask(source, [[1, 2, 3]] * 3, [row] * 3, histories).choice.tolist() == [3, 1, 3]


def test_fold_in_answers_none_for_the_lowest_best_scores():
    source = FoldIn(0, tastes(60), MODEL, 1 / 3)
    prompts = [[2, 3], [2, 1], [2, 1]]  # after a history of item 3, only item 3 has a high score
    assert ask(source, prompts[:1] * 3, [0] * 3, [[3, 3, 3]] * 3).choice.tolist().count(0) == 1
    labels = ask(source, prompts, [0] * 3, [[3, 3, 3], [1, 1, 1], [3, 3, 3]])
    assert labels.choice.tolist() == [2, 2, 0]


def test_fold_in_trusts_a_long_history_more():
    source = FoldIn(0, tastes(4000, loyal=0.75), MODEL, 0.0)
    scores = ask(source, [[3, 1]] * 3, [0, 0, 0], [[0, 0, 0], [0, 0, 3], [3, 3, 3]]).scores
    no_like, one_like, three_likes = scores[:, 0] - scores[:, 1]
    assert abs(no_like) < 0.2 * one_like
    assert 1.2 * one_like < three_likes <= 4  # the calibration of `MODEL` ends at log-odds of -2 and 2


def test_the_manifest_counts_prompts():
    source = Random(0, 0.5)
    choices = [ask(source, [[1, 2]] * 10, np.zeros(10, int)).choice for _ in range(3)]
    manifest = source.manifest()
    none = int(sum((choice == 0).sum() for choice in choices))
    assert manifest["counts"] == {"prompts": 30, "valid": 30, "none": none}
    assert manifest["source"] == "random"
    assert len({tuple(choice) for choice in choices}) == 3  # each request draws new random labels


class OfOrder:
    """A fake data set with only the parts that label sources read."""

    histories = HISTORIES
    interactions = type("Interactions", (), {"ordered": True})

    def popularity(self):
        return np.arange(10)


def test_every_rule_has_the_name_of_its_source():
    rules = set(SOURCES) - {LLM, LOG_MODEL, BOTH}
    labellers = {
        name: rule_labeller(LabellingConfig(source=name), OfOrder(), tastes(4), MODEL, 0) for name in rules
    }
    named = {name.replace("_", ""): type(source).__name__.lower() for name, source in labellers.items()}
    assert named == {name: name for name in named}
    assert {source.manifest()["source"] for source in labellers.values()} == rules


def test_impossible_settings_are_refused():
    for config in (LabellingConfig(source="oracle"), LabellingConfig(none_share=1.0)):
        with pytest.raises(InputError, match=r"--config\.labelling\."):
            config.check()

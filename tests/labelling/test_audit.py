"""Compares metrics of the audit with hand computations, and tests them on labellers of known skill."""

import itertools

import numpy as np
import pytest
from audit_world import generated, held_out

from ialp_jax.labelling import audit
from ialp_jax.labelling.audit import Source, letter_bias
from ialp_jax.labelling.audit_questions import Questions, draw
from ialp_jax.labelling.config import AuditConfig

YES_NO = np.array([False, True, False, True])


@pytest.mark.parametrize(
    ("scores", "auc", "accuracy"),
    [
        ([1.0, 4.0, 2.0, 3.0], 1.0, 1.0),
        ([4.0, 1.0, 3.0, 2.0], 0.0, 0.0),
        ([2.0, 3.0, 1.0, 1.0], 2.5 / 4, 1.0),  # pairs: 3>2, 3>1, 1<2, 1=1
        ([0.0, 0.0, 0.0, 0.0], 0.5, 0.5),
        ([5.0, 5.0, 1.0, 0.0], 1.5 / 4, 0.5),  # 5=5, 5>1, 0<5, 0<1
    ],
)
def test_auc_and_accuracy_by_hand(scores, auc, accuracy):
    assert audit.auc(np.array(scores), YES_NO) == auc
    assert audit.accuracy(np.array(scores), YES_NO) == accuracy


def test_ndcg_by_hand():
    second_is_relevant = np.array([False, True, False])
    assert audit.ndcg(np.array([1.0, 2.0, 3.0]), second_is_relevant) == pytest.approx(1 / np.log2(3))
    assert audit.ndcg(np.array([1.0, 3.0, 2.0]), second_is_relevant) == 1.0
    ndcg = audit.ndcg(np.array([3.0, 2.0, 1.0, 0.0]), YES_NO)  # places 2 and 4; at best 1 and 2
    assert ndcg == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / (1 + 1 / np.log2(3)))
    assert audit.ndcg(-np.arange(12.0), np.arange(12) == 10) == 0.0  # place 11


def test_ties_count_as_their_mean_over_all_orders():
    scores = np.array([2.0, 1.0, 2.0, 2.0, 0.0])
    relevant = np.array([True, True, False, False, False])
    broken = []
    for order in itertools.permutations(range(5)):
        clear = scores + 0.1 * np.array(order) / 5
        broken.append([metric(clear, relevant) for metric in (audit.auc, audit.accuracy, audit.ndcg)])
    with_ties = [metric(scores, relevant) for metric in (audit.auc, audit.accuracy, audit.ndcg)]
    np.testing.assert_allclose(with_ties, np.mean(broken, axis=0))


def test_rank_agreement():
    assert audit.agreement(np.array([1.0, 2.0, 9.0]), np.array([-3.0, 0.0, 1.0])) == pytest.approx(1.0)
    assert audit.agreement(np.array([1.0, 2.0, 2.0]), np.array([3.0, 1.0, 0.0])) == pytest.approx(
        -np.sqrt(0.75)
    )
    assert np.isnan(audit.agreement(np.zeros(3), np.arange(3.0)))


LIKES = np.array([0, 9, 4, 0, 1, 99])


def three_users():
    candidates = np.array([[1, 2, 3, 4], [5, 4, 3, 0], [2, 1, 5, 0]], np.int32)
    relevant = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
    histories = np.array([[0, 5], [0, 3], [4, 3]], np.int32)
    return Questions(np.arange(3), np.array([1, 1, 7]), histories, histories, candidates, relevant)


def test_metrics_of_a_user_by_hand():
    nan = np.nan
    scores = np.array([[1, 3, 2, 0], [0, 5, 1, nan], [nan, 1, 0, 0]])
    source = Source(np.array([2, 0, -1]), scores)
    truth = Source.of(np.array([[1, 3, 2, 0], [5, 0, 1, 7], [1, 2, 3, 0]]), three_users().candidates)
    metrics = audit.per_user(three_users(), source, LIKES, truth)
    np.testing.assert_array_equal(metrics["auc"], [1.0, 0.0, 0.5])  # an invalid answer gives no information
    np.testing.assert_allclose(metrics["accuracy"], [1.0, 0.0, 2 / 3])
    np.testing.assert_array_equal(metrics["none_share"], [0, 1, 0])
    np.testing.assert_array_equal(metrics["invalid_share"], [0, 0, 1])
    np.testing.assert_allclose(metrics["order_bias"], [0.5 / 3, nan, nan])  # the second of four
    np.testing.assert_allclose(metrics["popularity_bias"], [0.0, nan, nan])
    np.testing.assert_allclose(metrics["truth_agreement"], [1.0, -1.0, nan])
    valid_metrics = audit.per_user(three_users(), Source(np.array([1, 3, 1]), scores), LIKES)
    np.testing.assert_allclose(valid_metrics["order_bias"], [0.5, -0.5, 0.5])
    taken = np.log([5, 100, np.sqrt(10 * 100)])
    np.testing.assert_allclose(valid_metrics["popularity_bias"], np.log([10, 1, 5]) - taken)
    assert "truth_agreement" not in valid_metrics


def test_calibration_by_hand():
    scores = np.log(np.array([[1, 2, 1, 6], [1, 1, 2, 0], [8, 1, 1, 0]], float) + 1e-300)
    calibration = audit.calibration(three_users(), Source.of(scores, three_users().candidates))
    np.testing.assert_allclose(
        calibration.confidence, [0.6, 0.5, 0.8]
    )  # values after the last candidate are ignored
    np.testing.assert_array_equal(calibration.hit, [0, 0, 0])
    np.testing.assert_allclose(calibration.error().point, (0.6 + 0.5 + 0.8) / 3)  # few users: one bin
    assert Source.of(-scores, three_users().candidates).choice.tolist() == [1, 1, 2]
    right = audit.calibration(three_users(), Source.of(-scores, three_users().candidates))
    # For user 1, two items tie. User 2 likes two items, and one of them is drawn.
    np.testing.assert_allclose(right.hit, [0, 0.5, 0.5])


def test_calibration_bins_hold_equally_many_users_and_their_gaps_add_up():
    rng = np.random.default_rng(0)
    confidence, count = rng.random(1000), 1000
    bins = np.empty(count, int)
    bins[np.argsort(confidence)] = np.arange(count) * 10 // count
    honest = audit.Calibration(confidence, (rng.random(count) < confidence).astype(float), bins)
    boastful = audit.Calibration(confidence, (rng.random(count) < confidence / 2).astype(float), bins)
    assert honest.error().point < 0.06
    np.testing.assert_allclose(boastful.error().point, confidence.mean() / 2, atol=0.04)
    assert boastful.error().low < boastful.error().point < boastful.error().high
    questions = draw(held_out(num_users=600, num_items=30), AuditConfig(negatives=9), 5, False, 0)
    scores = rng.normal(size=questions.candidates.shape)
    calibration = audit.calibration(questions, Source.of(scores, questions.candidates))
    assert np.ptp(np.bincount(calibration.bins)) <= 1
    assert len(np.unique(calibration.bins)) == min(10, len(questions.user) // 50) == 9
    assert (np.diff(calibration.curve()["confidence"]) > 0).all()


def test_segments_split_users_in_halves_by_taste_and_length_of_log():
    segments = audit.segments(three_users(), LIKES)  # mean log(1 + likes): log 100; 0; log(2) / 2
    np.testing.assert_array_equal(segments["mainstream"], [True, False, False])
    np.testing.assert_array_equal(segments["niche"], [False, True, True])
    np.testing.assert_array_equal(segments["long"], [False, False, True])
    same = three_users()._replace(known=np.array([3, 3, 3]))
    assert set(audit.segments(same, LIKES)) == {"mainstream", "niche"}


@pytest.fixture(scope="module")
def questions_and_likes():
    dataset = held_out(num_users=500, num_items=60)
    return draw(dataset, AuditConfig(negatives=20), 5, False, 0), dataset.popularity()


def table(questions, likes, **sources):
    popularity = audit.popularity_source(likes, questions.candidates)
    noise = np.random.default_rng(5).random(questions.candidates.shape)
    shuffled = Source.of(noise, questions.candidates)
    rows = audit.compare(questions, {"shuffled": shuffled, "popularity": popularity, **sources}, likes)
    assert len({row[:2] for row in rows}) == len(rows)
    return {row[:2]: row for row in rows}


def test_segments_partition_the_users(questions_and_likes):
    questions, likes = questions_and_likes
    llm = Source.of(np.random.default_rng(2).random(questions.candidates.shape), questions.candidates)
    rows, values = table(questions, likes, llm=llm), audit.per_user(questions, llm, likes)
    for name, inside in audit.segments(questions, likes).items():
        assert rows["llm", f"auc/{name}"].value == pytest.approx(values["auc"][inside].mean())
        assert rows["llm", f"auc/{name}"].ci_low < rows["llm", f"auc/{name}"].value
    assert rows["llm", "users/niche"].value + rows["llm", "users/mainstream"].value == len(questions.user)
    assert rows["llm", "users"].value == len(questions.user)


def test_a_labeller_who_knows_the_truth(questions_and_likes):
    questions, likes = questions_and_likes
    rows = table(questions, likes, llm=Source.of(questions.relevant * 50.0, questions.candidates))
    for metric in ("auc", "accuracy", "ndcg", "auc/niche", "ndcg/short"):
        assert rows["llm", metric][2:] == (1.0, 1.0, 1.0)
    assert rows["llm", "auc_minus_shuffled"].ci_low > 0.4
    assert rows["llm", "auc_minus_popularity"].ci_low > 0
    assert rows["llm", "popularity_bias"].value == 0
    assert rows["llm", "calibration_error"].value < 1e-9
    assert rows["llm", "none_share"].value == rows["llm", "invalid_share"].value == 0


def test_a_labeller_who_guesses(questions_and_likes):
    questions, likes = questions_and_likes
    scores = np.random.default_rng(3).random(questions.candidates.shape)
    rows = table(questions, likes, llm=Source.of(scores, questions.candidates))
    for metric, chance in (
        ("auc", 0.5),
        ("accuracy", 1 / 21),
        ("order_bias", 0.0),
        ("auc_minus_shuffled", 0.0),
    ):
        _, _, value, low, high = rows["llm", metric]
        assert low < value < high
        assert low - 0.02 < chance < high + 0.02
    assert rows["chance", "auc"].value == 0.5
    assert rows["chance", "accuracy"].value == pytest.approx(1 / 21)
    assert ("chance", "popularity_bias") not in rows


def test_a_labeller_who_repeats_popularity(questions_and_likes):
    questions, likes = questions_and_likes
    rows = table(questions, likes, llm=audit.popularity_source(3 * likes + 2, questions.candidates))
    assert rows["llm", "auc_minus_popularity"][2:] == (0.0, 0.0, 0.0)
    assert rows["llm", "auc"][2:] == rows["popularity", "auc"][2:]
    assert rows["llm", "popularity_bias"].ci_low > 0


def test_a_labeller_who_prefers_the_first_letter_and_one_who_refuses(questions_and_likes):
    questions, likes = questions_and_likes
    first = Source(np.ones(len(questions.user), int), -np.tile(np.arange(21.0), (len(questions.user), 1)))
    rows = table(questions, likes, llm=first)
    assert rows["llm", "order_bias"][2:] == (0.5, 0.5, 0.5)
    silent = first._replace(choice=np.full(len(questions.user), -1))
    rows = table(questions, likes, llm=silent)
    assert rows["llm", "invalid_share"].value == 1
    assert rows["llm", "auc"].value == 0.5
    assert np.isnan(rows["llm", "order_bias"].value)


def test_letter_bias_by_hand():
    fair = letter_bias([0.25, 0.25, 0.25, 0.25], 400)
    assert fair.value == 0
    assert 0 < fair.ci_low < fair.ci_high < 0.12
    assert letter_bias([1.0, 0.0, 0.0, 0.0], 10)[1:] == ("letter_bias", 0.75, 0.75, 0.75)
    few, many = (letter_bias([0.7, 0.3], count) for count in (20, 2000))
    assert few.value == many.value == pytest.approx(0.2)
    assert few.ci_low < many.ci_low < 0.2 < many.ci_high < few.ci_high


def test_agreement_with_the_known_truth():
    dataset, likelihood = generated()
    questions = draw(dataset, AuditConfig(negatives=10), 5, False, 0)
    truth = Source.of(likelihood(questions), questions.candidates)
    rows = table(questions, dataset.popularity(), llm=truth, truth=truth)
    assert rows["llm", "truth_agreement"].value == pytest.approx(1.0)
    assert abs(rows["shuffled", "truth_agreement"].value) < 0.15
    assert ("truth", "truth_agreement") not in rows
    assert rows["truth", "auc"].ci_low > 0.6
    assert rows["truth", "auc"][2:] == rows["llm", "auc"][2:]

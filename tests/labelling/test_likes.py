"""Tests the regression behind the probabilities of a like, on made-up data with known coefficients."""

import numpy as np
import pytest
from scipy.special import expit

from ialp_jax.labelling import likes
from ialp_jax.labelling.likes import PULL, Evidence, Fit, LikeModel, fit, measures

SLOPES = np.array([1.2, -0.7])
NAMES = ("llm", "log_popularity")


def drawn(count, seed=0, intercept=-1.0, slopes=SLOPES, centre=(3.0, -2.0), spread=(1.0, 5.0)):
    """Rows of features with known log-odds, and likes drawn from them."""
    random = np.random.default_rng(seed)
    features = random.normal(centre, spread, (count, 2))
    odds = intercept + (features - centre) / spread @ slopes
    return features, random.random(count) < expit(odds), odds


def evidence_of(questions, seed, intercept, with_next=0.0, users=20, shift=0.0, size=10):
    """Questions about ``users`` users; a share ``with_next`` of them has a liked item that was added."""
    random = np.random.default_rng(seed)
    features, liked, _ = drawn(
        questions * size, seed, intercept + shift * SLOPES[0], centre=(shift, 0), spread=(1, 1)
    )
    features, liked = features.reshape(questions, size, 2), liked.reshape(questions, size)
    pool, _, odds = drawn(50 * questions, seed + 1, intercept, centre=(0, 0), spread=(1, 1))
    changed = random.random(questions) < with_next
    features[changed, -1] = random.choice(pool, changed.sum(), p=expit(odds) / expit(odds).sum())
    liked[changed, -1] = True
    user = random.integers(0, users, questions)
    return Evidence(features, liked, np.ones_like(liked), user, changed)


def test_a_fit_recovers_known_coefficients_for_features_of_any_scale():
    features, liked, odds = drawn(40_000)
    fitted = fit(features, liked, np.zeros(2), 1.0)
    np.testing.assert_allclose(fitted.slopes * [1, 5], SLOPES, atol=0.05)
    np.testing.assert_allclose(fitted.log_odds(features).mean(), odds.mean(), atol=0.05)
    scaled = fit(features * [1000, 0.001], liked, np.zeros(2), 1.0)
    np.testing.assert_allclose(scaled.slopes * [1000, 0.001], fitted.slopes, rtol=1e-4)
    assert fitted.intercept == fit(features, liked, np.zeros(2), 1.0).intercept


def test_a_fit_is_the_minimum_of_its_objective():
    features, liked, _ = drawn(60)
    centre, fitted = np.array([0.5, 0.1]), fit(features, liked, np.array([0.5, 0.1]), 2.0)
    mean, spread = features.mean(0), features.std(0)

    def objective(intercept, slopes):
        odds, middle = intercept + features @ slopes, intercept + mean @ slopes
        loss = np.sum(np.log1p(np.exp(odds)) - liked * odds)
        loss += 0.5 * (np.log1p(np.exp(middle)) + np.log1p(np.exp(-middle)))
        return loss + 2.0 / 2 * np.sum(((slopes - centre) * spread) ** 2)

    least = objective(*fitted)
    for step in np.vstack([np.eye(3), -np.eye(3)]) * 0.01:
        assert objective(fitted.intercept + step[0], fitted.slopes + step[1:]) > least


def test_a_stronger_pull_keeps_the_slopes_closer_to_their_centre():
    features, liked, _ = drawn(100)
    centre = np.array([-1.0, 0.3])
    gaps = [np.abs(fit(features, liked, centre, pull).slopes - centre).max() for pull in (0.1, 10, 1e7)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-4


def test_without_likes_the_probability_is_small_but_positive():
    features = drawn(999)[0]
    fitted = fit(features, np.zeros(999, bool), np.zeros(2), PULL)
    assert expit(fitted.log_odds(features)).mean() == pytest.approx(0.5 / 1000, rel=0.2)


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_constant_features_and_missing_rows_leave_the_slopes_at_their_centre(rows):
    features = np.full((rows, 2), [1e6, -3.0])
    fitted = fit(features, np.arange(rows) % 2 == 0, np.array([0.5, -0.2]), PULL)
    np.testing.assert_allclose(fitted.slopes, [0.5, -0.2], atol=1e-6)
    assert np.isfinite(fitted.intercept)


def test_the_intercept_holds_for_proposals_although_next_items_were_added():
    evidence = evidence_of(4000, 0, intercept=-4.0, with_next=0.5)
    model = LikeModel(NAMES, 1)
    model.update(evidence)
    proposals = evidence_of(4000, 5, intercept=-4.0)
    rate = proposals.liked.mean()
    predicted = expit(model.log_odds(proposals.features)).mean()
    assert predicted == pytest.approx(rate, rel=0.12)
    everything = fit(*evidence.rows(np.ones(4000, bool)), np.zeros(2), 1.0)
    assert expit(everything.log_odds(proposals.features)).mean() > 2 * rate  # so the test can fail
    coefficients = model.rounds[0]["coefficients"]
    np.testing.assert_allclose([coefficients[name] for name in NAMES], SLOPES, atol=0.15)
    assert model.rounds[0]["proposals"] == 10 * (4000 - evidence.with_next.sum())


def test_next_items_teach_the_slopes_if_hardly_any_proposal_is_liked():
    errors = {0.5: [], 0.0: []}
    for seed in range(6):
        for with_next, found in errors.items():
            model = LikeModel(NAMES, 1)
            model.update(evidence_of(200, 10 * seed, intercept=-8.0, with_next=with_next))
            found.append(abs(model.rounds[0]["coefficients"]["log_popularity"] - SLOPES[1]))
    assert np.mean(errors[0.5]) < 0.7 * np.mean(errors[0.0])


def test_each_round_has_the_rate_of_its_own_proposals_and_slopes_near_those_of_the_round_before():
    model = LikeModel(NAMES, 1)
    model.update(evidence_of(2000, 0, intercept=-3.0, with_next=0.5))
    # The actor has found items with high scores that users do not like more.
    later = evidence_of(300, 7, intercept=-6.0, shift=2.0)
    model.update(later)
    assert expit(model.log_odds(later.features)).mean() == pytest.approx(later.liked.mean(), rel=0.1)
    first, second = (record["coefficients"] for record in model.rounds)
    alone = fit(*later.rows(np.ones(300, bool)), np.zeros(2), 1e-3).slopes
    slopes = np.array([second[name] for name in NAMES])
    before = np.array([first[name] for name in NAMES])
    assert (np.abs(slopes - before) < np.abs(alone - before)).all()


def test_unusable_candidates_do_not_count():
    evidence = evidence_of(300, 0, intercept=-2.0)
    spoilt = evidence.usable.copy()
    spoilt[:, :3] = False
    features = np.where(spoilt[..., None], evidence.features, np.nan)
    models = [LikeModel(NAMES, 1) for _ in range(2)]
    cut = Evidence(*(part[:, 3:] for part in evidence[:3]), *evidence[3:])
    models[0].update(evidence._replace(features=features, usable=spoilt))
    models[1].update(cut)
    assert models[0].rounds[0]["coefficients"] == models[1].rounds[0]["coefficients"]
    assert models[0].rounds[0]["auc"] == models[1].rounds[0]["auc"]


def test_the_cross_validation_never_uses_the_answers_about_its_own_user():
    """With labels flipped for one fold, a fit that saw them would predict them; this one must not."""
    evidence = evidence_of(1000, 0, intercept=0.0)
    in_fold = evidence.user % likes.FOLDS == 2
    flipped = evidence._replace(liked=np.where(in_fold[:, None], ~evidence.liked, evidence.liked))
    for number in range(2):
        model = LikeModel(NAMES, 1)
        for _ in range(number + 1):
            model.update(flipped)
        others = LikeModel(NAMES, 1)
        rest = Evidence(*(part[~in_fold] for part in evidence))
        for _ in range(number + 1):
            others.update(rest)
        odds = model._folds[2].log_odds(evidence.features[in_fold])
        np.testing.assert_allclose(odds, others.log_odds(evidence.features[in_fold]), rtol=1e-4, atol=1e-4)


def test_measures_agree_with_their_definitions():
    random = np.random.default_rng(0)
    odds = np.round(random.normal(size=205), 1)  # with ties
    liked = random.random(205) < expit(odds)
    found = measures(odds, liked)
    chance = expit(odds)
    expected = -np.mean(np.where(liked, np.log(chance), np.log(1 - chance)))
    assert found["log_loss"] == pytest.approx(expected)
    rate = liked.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert found["log_loss_of_rate"] == pytest.approx(entropy)
    won, other = odds[liked][:, None], odds[~liked]
    assert found["auc"] == pytest.approx(np.mean((won > other) + 0.5 * (won == other)))
    table = {name: np.array(column) for name, column in found["reliability"].items()}
    assert len(table["count"]) == likes.BINS
    assert table["count"].sum() == 205
    assert np.ptp(table["count"]) <= 1
    assert (np.diff(table["predicted"]) >= 0).all()
    assert table["observed"] @ table["count"] == pytest.approx(liked.sum())
    assert measures(odds, np.ones(205, bool))["auc"] is None
    assert len(measures(odds[:3], liked[:3])["reliability"]["count"]) == 3


def test_the_best_candidate_of_each_question_is_predicted_without_optimism():
    model = LikeModel(NAMES, 1)
    model.update(evidence_of(6000, 2, intercept=-3.0))
    best = model.rounds[0]["best"]
    assert best["predicted"] == pytest.approx(best["observed"], abs=0.02)
    assert best["observed"] > 2 * model.rounds[0]["likes"] / model.rounds[0]["proposals"]


def cautions_of(evidence):
    model = LikeModel(NAMES, 1)
    model.update(evidence)
    assert np.isfinite(model.log_odds(evidence.features)).all()
    return model, model.manifest()["cautions"]


def test_good_evidence_needs_no_caution():
    assert cautions_of(evidence_of(500, 0, intercept=-1.0))[1] == []


def test_degenerate_evidence_gives_a_caution_and_ranks_by_the_score_of_the_source():
    plain = evidence_of(200, 0, intercept=-1.0)
    model, (caution,) = cautions_of(plain._replace(liked=np.zeros_like(plain.liked)))
    assert caution.startswith("calibration of likes, round 0: the held-out users like fewer than 10")
    assert (np.diff(model.log_odds(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))) > 0).all()

    model, (caution,) = cautions_of(plain._replace(user=np.zeros(200, int)))
    assert "one held-out user" in caution
    assert "auc" not in model.rounds[0]

    constant = plain.features.copy()
    constant[..., 1] = 2.5
    model, (caution,) = cautions_of(plain._replace(features=constant))
    assert "log_popularity is the same for all proposals" in caution
    assert model.rounds[0]["coefficients"]["log_popularity"] == pytest.approx(0)

    _, (caution,) = cautions_of(plain._replace(features=-plain.features))
    assert "a higher score of llm makes a like less probable" in caution


def test_without_a_single_valid_answer_the_model_still_gives_numbers():
    plain = evidence_of(50, 0, intercept=-1.0)
    nothing = plain._replace(features=np.full_like(plain.features, np.nan), usable=plain.usable & False)
    model = LikeModel(NAMES, 1)
    model.update(nothing)
    assert np.isfinite(model.log_odds(plain.features)).all()
    assert model.rounds[0]["proposals"] == 0


def test_two_sources_share_the_trust_and_both_are_learned():
    random = np.random.default_rng(0)
    features = random.normal(size=(3000, 10, 3))
    liked = random.random((3000, 10)) < expit(features @ [0.5, 1.5, 0.0] - 2)
    evidence = Evidence(features, liked, np.ones_like(liked), np.arange(3000) % 7, np.zeros(3000, bool))
    model = LikeModel(("llm", "log_model", "log_popularity"), 2)
    model.update(evidence)
    coefficients = model.rounds[0]["coefficients"]
    assert coefficients["llm"] == pytest.approx(0.5, abs=0.07)
    assert coefficients["log_model"] == pytest.approx(1.5, abs=0.07)
    assert coefficients["log_popularity"] == pytest.approx(0, abs=0.07)


def test_a_fit_maps_any_leading_axes():
    fitted = Fit(1.0, np.array([2.0, -1.0]))
    features = np.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_allclose(fitted.log_odds(features), 1 + 2 * features[..., 0] - features[..., 1])

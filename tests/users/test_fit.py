"""Tests the fit of user models: predictions, equations of alternating least squares, and whole fits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.errors import InputError
from ialp_jax.types import EVALUATION, OFFLINE, UserModel
from ialp_jax.users import fit as user_model
from ialp_jax.users import holdout, implicit_mf
from ialp_jax.users.config import UserModelConfig, grid
from ialp_jax.users.fit import fit
from ialp_jax.users.predict import calibrated, like_logit, like_probability, user_scores

QUICK = {"factors": "8", "regularisation": "30", "confidence": "20", "iterations": 5}


@pytest.fixture(scope="module")
def demo():
    return load(DataConfig())


@pytest.fixture(scope="module")
def small():
    return load(DataConfig(demo=DemoConfig(users=150, items=120, genres=4)))


@pytest.fixture(scope="module")
def quick(small):
    return fit(small, UserModelConfig(**QUICK))


def tiny_model():
    return UserModel(
        user_factors=np.array([[1.0, 0.0], [0.5, 2.0]], np.float32),
        item_factors=np.array([[0, 0], [1, 1], [0, 1], [2, 0]], np.float32),
        item_bias=np.array([0, 0.5, -1.0, 0], np.float32),
        knot_scores=np.array([-1.0, 1.0, 2.0], np.float32),
        knot_logits=np.array([-4.0, 0.0, 3.0], np.float32),
    )


def test_logits_match_hand_computed_values_and_are_constant_beyond_the_end_knots():
    model = tiny_model()
    scores = [[1.5, -1.0, 2.0], [3.0, 1.0, 1.0]]
    logits = [[1.5, -4.0, 3.0], [3.0, 0.0, 0.0]]
    np.testing.assert_allclose(user_scores(model, jnp.arange(2)), scores)
    np.testing.assert_allclose(user_scores(model, 1), scores[1])
    np.testing.assert_allclose(like_logit(model, np.arange(2)[:, None], np.arange(1, 4)[None]), logits)
    np.testing.assert_allclose(calibrated(model, user_scores(model, np.arange(2))), logits)
    assert float(like_probability(model, 1, 2)) == pytest.approx(0.5)


def test_probabilities_broadcast_and_agree_under_jit_and_vmap():
    model = jax.tree.map(jnp.asarray, tiny_model())
    user, item = jnp.array([0, 1, 1]), jnp.array([3, 2, 1])
    together = like_probability(model, user, item)
    assert together.shape == (3,)
    assert together.dtype == jnp.float32
    each = jax.jit(jax.vmap(like_probability, (None, 0, 0)))(model, user, item)
    np.testing.assert_allclose(together, each, rtol=1e-6)
    assert like_probability(model, user[:, None], item[None]).shape == (3, 3)


def test_chunks_contain_every_like_once():
    draw = np.random.default_rng(0)
    owner, neighbour = draw.integers(0, 9, 300), draw.integers(0, 50, 300)
    owner = owner[owner != 4]
    neighbour = neighbour[: len(owner)]
    cut = implicit_mf.chunks(owner, neighbour, 9, width=7)
    pairs = [(one, item) for one, row, mask in zip(*cut, strict=True) for item in row[mask > 0]]
    assert sorted(pairs) == sorted(zip(owner, neighbour, strict=True))
    assert np.all(np.diff(cut.owner) >= 0)
    assert 4 not in cut.owner


def test_solve_equals_equation_4_of_the_paper():
    draw = np.random.default_rng(1)
    items = draw.normal(size=(12, 3)).astype(np.float32)
    likes = draw.random((5, 12)) < 0.4
    likes[2] = False
    alpha, penalty = 7.0, 0.3
    factors = implicit_mf.solve(
        jnp.asarray(items), implicit_mf.chunks(*np.nonzero(likes), 5, width=2), 5, alpha, penalty
    )
    for user in range(5):
        confidence = np.diag(1 + alpha * likes[user])
        left = items.T @ confidence @ items + penalty * np.eye(3)
        expected = np.linalg.solve(left, items.T @ confidence @ likes[user])
        np.testing.assert_allclose(factors[user], expected, rtol=1e-3, atol=1e-5)


def test_sweeps_lower_the_objective():
    draw = np.random.default_rng(2)
    likes = draw.random((30, 20)) < 0.3
    alpha, penalty = 5.0, 1.0
    by_user, by_item = (
        implicit_mf.chunks(*np.nonzero(likes), 30),
        implicit_mf.chunks(*np.nonzero(likes.T), 20),
    )

    def objective(iterations):
        users, items = implicit_mf.factorise(
            jax.random.key(0),
            by_user,
            by_item,
            alpha,
            penalty,
            num_users=30,
            num_items=20,
            factors=4,
            iterations=iterations,
        )
        error = (1 + alpha * likes) * (likes - np.asarray(users @ items.T)) ** 2
        return error.sum() + penalty * (np.sum(np.square(users)) + np.sum(np.square(items)))

    values = [objective(iterations) for iterations in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)


def test_roles_have_the_given_shares_and_leave_each_user_a_training_like(small):
    table = holdout.roles(small.histories, small.catalogue.num_items, 0.1, 0.2, seed=0)
    rows = small.interactions
    liked = np.zeros(table.shape, bool)
    liked[rows.user, rows.item - 1] = True
    assert np.array_equal(table != holdout.NEVER, liked)
    total = liked.sum()
    assert np.sum(table == holdout.VALIDATION) / total == pytest.approx(0.1, abs=0.02)
    assert np.sum(table == holdout.TEST) / total == pytest.approx(0.2, abs=0.03)
    greedy = holdout.roles(small.histories, small.catalogue.num_items, 0.5, 0.499, seed=0)
    assert np.all(np.sum(greedy == holdout.TRAIN, axis=1) >= 1)
    assert not np.array_equal(table, holdout.roles(small.histories, table.shape[1], 0.1, 0.2, seed=1))


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(small, quick):
    one, again = quick[0], fit(small, UserModelConfig(**QUICK))[0]
    for left, right in zip(one, again, strict=True):
        np.testing.assert_array_equal(left, right)
    other = fit(small, UserModelConfig(**QUICK, seed=1))[0]
    assert not np.allclose(one.user_factors, other.user_factors)


def test_test_likes_do_not_change_the_factors(small, quick, monkeypatch):
    usual, metrics, _ = quick

    def roles_with_other_test_items(*arguments):
        table = holdout.roles(*arguments)
        for row in table:  # replaces the test likes by other items
            tested = np.flatnonzero(row == holdout.TEST)
            row[np.flatnonzero(row == holdout.NEVER)[: len(tested)]] = holdout.TEST
            row[tested] = holdout.NEVER
        return table

    monkeypatch.setattr(user_model, "roles", roles_with_other_test_items)
    other, other_metrics, _ = fit(small, UserModelConfig(**QUICK))
    np.testing.assert_array_equal(usual.user_factors, other.user_factors)
    np.testing.assert_array_equal(usual.item_factors, other.item_factors)
    assert other_metrics["auc"] < metrics["auc"] - 0.1


def test_fit_selects_the_best_setting_of_the_grid(small):
    def metrics_of(regularisation):
        return fit(small, UserModelConfig(**(QUICK | {"regularisation": regularisation})))[1]

    single = {value: metrics_of(value)["validation_auc"] for value in ("1", "30", "3000")}
    both = metrics_of("1,30,3000")
    assert both["validation_auc"] == max(single.values())
    assert single[f"{both['regularisation']:g}"] == both["validation_auc"]
    assert len(set(single.values())) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("factors", "4"),
        ("regularisation", "3"),
        ("confidence", "2"),
        ("iterations", 1),
        ("validation", 0.3),
        ("test", 0.3),
        ("knots", 2),
        ("base_rate", 3.0),
        ("base_rate_rule", "odds"),
    ],
)
def test_every_setting_changes_the_result(small, quick, field, value):
    usual = quick[0]
    changed = fit(small, UserModelConfig(**(QUICK | {field: value})))[0]
    users, items = np.arange(small.num_users)[:, None], np.arange(1, small.catalogue.num_items + 1)[None]
    assert not np.allclose(like_logit(usual, users, items), like_logit(changed, users, items), atol=1e-3)


@pytest.mark.parametrize("base_rate", [0.5, 1.0, 4.0])
def test_mean_like_probability_is_base_rate_times_the_density_of_the_logs(small, base_rate):
    model, metrics, _ = fit(small, UserModelConfig(**QUICK, base_rate=base_rate))
    users, items = np.arange(small.num_users)[:, None], np.arange(1, small.catalogue.num_items + 1)[None]
    mean = np.mean(np.asarray(like_probability(model, users, items), np.float64))
    assert mean == pytest.approx(base_rate * metrics["like_rate"], rel=1e-4)
    assert metrics["density_ratio"] == pytest.approx(base_rate, rel=1e-4)


def test_base_rate_rule_odds_multiplies_the_odds_of_the_logs(small, quick):
    settings = UserModelConfig(**QUICK, base_rate_rule="odds")
    one, four = (fit(small, dataclasses.replace(settings, base_rate=rate)) for rate in (1.0, 4.0))
    low, high = (calibrated(part[0], jnp.linspace(-1, 2, 50)) for part in (one, four))
    np.testing.assert_allclose(high - low, np.log(4.0), atol=0.15)
    assert 2.0 < four[1]["density_ratio"] < 3.6
    assert quick[1]["density_ratio"] == pytest.approx(1.0, rel=1e-4)


def test_too_high_base_rate_raises(small):
    with pytest.raises(InputError, match=r"user_model\.base_rate: too high; .* lower it"):
        fit(small, UserModelConfig(**QUICK, base_rate=300.0))


def test_fit_on_demo_is_close_to_the_truth(demo):
    config = UserModelConfig(factors="16", regularisation="100", confidence="20")
    model, fitted, _ = fit(demo, config)
    true_model, truth, _ = fit(demo, UserModelConfig(family="truth"))
    assert true_model is demo.truth
    assert truth["auc"] - 0.04 < fitted["auc"] <= truth["auc"] + 0.005
    assert fitted["auc"] > fitted["popularity_auc"] + 0.1
    assert fitted["ece"] < 0.01
    assert np.all(np.diff(model.knot_scores) > 0)
    assert np.all(np.diff(model.knot_logits) > 0)
    np.testing.assert_array_equal(model.item_factors[0], 0)


def test_family_truth_raises_for_real_data(small):
    real = small.__class__(**{**small.__dict__, "truth": None})
    with pytest.raises(InputError, match=r"user_model\.family=truth"):
        fit(real, UserModelConfig(family="truth"))


def test_too_few_likes_to_hold_out_raise(small):
    with pytest.raises(InputError, match=r"user_model\.test"):
        fit(small, UserModelConfig(**QUICK, test=1e-9))


def test_factors_that_are_not_finite_raise(small):
    with pytest.raises(InputError, match="regularisation"):
        fit(small, UserModelConfig(**(QUICK | {"regularisation": "1e-30", "factors": "300"})))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "oracle"),
        ("factors", "8,many"),
        ("factors", "8.5"),
        ("factors", ""),
        ("regularisation", "-1"),
        ("confidence", "nan"),
        ("iterations", 0),
        ("validation", 0.0),
        ("test", 0.95),
        ("knots", 1),
        ("base_rate", 0.0),
        ("base_rate", 1e-60),
        ("base_rate", 1e17),
        ("base_rate_rule", "shift"),
        ("seed", -1),
    ],
)
def test_impossible_settings_raise_with_their_flag(field, value):
    with pytest.raises(InputError) as caught:
        UserModelConfig(**{field: value}).check()
    assert f"--config.simulator.user_model.{field}" in str(caught.value) or f".{field}:" in str(caught.value)


def test_grid_reads_comma_separated_lists():
    assert grid("8, 16,0.5", "factors") == [8.0, 16.0, 0.5]


@pytest.mark.slow
def test_fit_on_real_last_fm(data_root):
    data = load(DataConfig(name="lfm", root=str(data_root)))
    config = UserModelConfig(factors="32", regularisation="100", confidence="40")
    model, metrics, _ = fit(data, config)
    assert metrics["auc"] >= 0.93
    assert 0.74 < metrics["popularity_auc"] < 0.8
    assert metrics["ece"] < 0.003
    assert metrics["simulated_like_rate"] == pytest.approx(metrics["like_rate"], rel=0.15)
    users = data.users(EVALUATION)
    probability = np.asarray(jax.nn.sigmoid(calibrated(model, user_scores(model, users))))
    best = np.sort(probability, axis=1)[:, -20:].mean()
    popular = probability[:, np.argsort(-data.popularity()[1:])[:20]].mean()
    assert best > 2 * popular > 4 * probability.mean()


def test_fit_without_offline_users_ignores_their_likes(small):
    config = UserModelConfig(**QUICK, fit_users="not_offline")
    model, metrics, arrays = fit(small, config)
    owner = np.repeat(np.arange(small.num_users), np.diff(small.histories.offsets))
    fit_users = small.split != OFFLINE
    moved = np.where(
        fit_users[owner], small.histories.items, small.histories.items % small.catalogue.num_items + 1
    )
    changed = dataclasses.replace(small, histories=small.histories._replace(items=moved))
    for one, other in zip(model, fit(changed, config)[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(model.item_factors, fit(small, UserModelConfig(**QUICK))[0].item_factors)
    assert metrics["users"] == fit_users.sum() == len(arrays["likes_real"])
    counts = np.diff(small.histories.offsets)
    assert metrics["interactions"] == counts[fit_users].sum()
    np.testing.assert_array_equal(arrays["likes_real"], counts[fit_users])
    assert model.user_factors.shape == (small.num_users, 8)
    np.testing.assert_allclose(
        model.user_factors[~fit_users], [model.user_factors[fit_users].mean(0)] * (~fit_users).sum()
    )
    assert metrics["auc"] > metrics["popularity_auc"] + 0.02


def test_only_users_keeps_the_data_of_the_selected_users(small):
    selected = small.split == EVALUATION
    part = holdout.only_users(small, selected)
    for number, user in enumerate(np.flatnonzero(selected)):
        np.testing.assert_array_equal(part.histories.of(number), small.histories.of(user))
        rows, old = part.interactions.user == number, small.interactions.user == user
        np.testing.assert_array_equal(part.interactions.item[rows], small.interactions.item[old])
        np.testing.assert_array_equal(part.truth.user_factors[number], small.truth.user_factors[user])
    assert part.num_users == selected.sum()
    assert (part.split == EVALUATION).all()


def test_family_truth_raises_with_a_base_rate():
    with pytest.raises(InputError, match=r"user_model\.base_rate=3.*its own rate"):
        UserModelConfig(family="truth", base_rate=3.0).check()


def test_family_truth_raises_with_fit_users():
    with pytest.raises(InputError, match="fit_users"):
        UserModelConfig(family="truth", fit_users="not_offline").check()
    with pytest.raises(InputError, match="fit_users=online"):
        UserModelConfig(fit_users="online").check()

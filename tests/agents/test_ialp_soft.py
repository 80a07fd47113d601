"""Tests the listwise loss of ialp_soft against numpy, and which labels teach what."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, HISTORIES, HORIZON, decided_params

from ialp_jax.agents.config import IALPConfig, SoftIALPConfig
from ialp_jax.agents.ialp import pretrain_loss
from ialp_jax.agents.ialp_soft import preferences, soft_loss
from ialp_jax.types import Observation, Transition

CANDIDATES = np.array([[4, 2, 7], [2, 8, 3], [11, 12, 13], [3, 2, 5]], np.int32)
SCORES = np.array([[0.5, -1.0, 2.0], [-3.0, -2.5, -9.0], [4.0, 4.0, 4.0], [1.0, 0.0, -1.0]], np.float32)

MEANS = np.array([[0.0, -1.0, 2.0], [-3.0, 1.0, -2.0], [1.0, 2.0, 3.0], [0.5, 0.0, 0.5]], np.float32)


@pytest.fixture(scope="module")
def setting():
    """(params, target params, labelled transitions [4]). The last label is "none"."""
    params, target = decided_params(0), decided_params(1)
    history, shown = HISTORIES, np.pad(HISTORIES, [(0, 0), (0, HORIZON)])
    liked = np.array([1, 1, 1, 0], np.float32)
    extras = {
        "candidate_actions": CANDIDATES,
        "label_scores": SCORES,
        "mean_scores": MEANS,
        "label_weight": liked,
        "label_reward": liked,
    }
    batch = Transition(
        Observation(history, shown),
        CANDIDATES[:, 2],
        liked,
        np.array([False, True, False, False]),
        np.array([False, False, True, False]),
        Observation(np.roll(history, 1, 0), shown),
        extras,
    )
    return params, target, batch


@functools.partial(jax.jit, static_argnames=[field.name for field in dataclasses.fields(SoftIALPConfig)])
def loss(params, target, batch, **settings):
    return soft_loss(SoftIALPConfig(**settings), ACTOR_CRITIC, params, target, batch)


@functools.partial(jax.jit, static_argnames=[field.name for field in dataclasses.fields(SoftIALPConfig)])
def slope_of(params, target, batch, **settings):
    return jax.grad(lambda p: soft_loss(SoftIALPConfig(**settings), ACTOR_CRITIC, p, target, batch)[0])(
        params
    )


def with_extras(batch, **extras):
    return batch._replace(extras=batch.extras | extras)


def softmax(values):
    weights = np.exp(values - values.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("temperature", "prior"), [(0.5, 0.0), (1.0, 0.0), (3.0, 0.0), (1.0, 0.5), (0.5, 1.0)]
)
def test_the_actors_loss_is_the_weighted_cross_entropy_over_the_candidates(setting, temperature, prior):
    params, target, batch = setting
    weight = np.array([1.0, 0.25, 0.5, 0.0], np.float32)
    weighted, settings = with_extras(batch, label_weight=weight), {"prior_weight": prior}
    _, metrics = loss(params, target, weighted, label_temperature=temperature, **settings)
    logits = np.asarray(ACTOR_CRITIC.apply(params, batch.observation.history).logits, np.float64)
    policy = softmax(np.take_along_axis(logits, CANDIDATES, 1))
    scores = SCORES.astype(np.float64) - prior * MEANS
    crossed = -(softmax(scores / temperature) * np.log(policy)).sum(1)
    assert float(metrics["actor_loss"]) == pytest.approx(np.mean(weight * crossed), rel=1e-4)


def test_critic_and_entropy_are_those_of_ialp(setting):
    params, target, batch = setting
    settings = {"discount": 0.7, "backup": "max", "critic_cost": 0.3, "entropy_cost": 0.2}
    total, metrics = loss(params, target, batch, **settings)
    _, others = pretrain_loss(IALPConfig(**settings), ACTOR_CRITIC, params, target, batch)
    for name in ("critic_loss", "entropy", "q"):
        assert float(metrics[name]) == pytest.approx(float(others[name]), rel=1e-5)
    parts = metrics["actor_loss"] + 0.3 * metrics["critic_loss"] - 0.2 * metrics["entropy"]
    assert float(total) == pytest.approx(float(parts), rel=1e-6)


def test_the_critic_learns_the_probability_of_a_like(setting):
    params, target, batch = setting
    probability = np.array([0.9, 0.1, 0.4, 0.2], np.float32)
    _, metrics = loss(params, target, with_extras(batch, label_reward=probability))
    _, expected = pretrain_loss(
        IALPConfig(), ACTOR_CRITIC, params, target, batch._replace(reward=probability)
    )
    assert float(metrics["critic_loss"]) == pytest.approx(float(expected["critic_loss"]), rel=1e-5)
    assert float(loss(params, target, batch)[1]["critic_loss"]) != pytest.approx(
        float(expected["critic_loss"]), rel=1e-3
    )


def test_a_step_raises_the_candidates_with_more_preference_than_probability(setting):
    params, target, batch = setting
    settings = {"critic_cost": 0.0, "entropy_cost": 0.0}
    gradient = slope_of(params, target, batch, **settings)
    after = jax.tree.map(lambda leaf, slope: leaf - 1e-3 * slope, params, gradient)
    observed = batch.observation.history
    before, now = (
        np.take_along_axis(np.asarray(ACTOR_CRITIC.apply(p, observed).logits), CANDIDATES, 1)
        for p in (params, after)
    )
    policy, wanted = softmax(before), softmax(SCORES)
    change = np.asarray(jax.nn.log_softmax(now)) - np.asarray(jax.nn.log_softmax(before))
    for row in range(3):
        lacking = wanted[row] - policy[row]
        most, least = lacking.argmax(), lacking.argmin()
        assert change[row, most] > 0 > change[row, least]


def test_a_label_none_teaches_the_actor_nothing(setting):
    params, target, batch = setting
    none = with_extras(batch, label_weight=np.zeros(4, np.float32))
    settings = {"critic_cost": 0.0, "entropy_cost": 0.0}
    gradient = slope_of(params, target, none, **settings)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("strange", [-np.inf, np.nan, np.inf])
def test_scores_that_are_not_finite_are_left_out(setting, strange):
    params, target, batch = setting
    scores = SCORES.copy()
    scores[0, 2] = scores[1] = strange
    batch = with_extras(batch, label_scores=scores)
    slope = slope_of(params, target, batch)
    assert np.isfinite(loss(params, target, batch)[0])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    found = np.asarray(preferences(jnp.asarray(scores), 1.0))
    np.testing.assert_allclose(found[0], [*softmax(SCORES[0, :2]), 0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_allclose(found[2:], softmax(SCORES[2:]), rtol=1e-6)


def test_large_scores_give_no_overflow():
    scores = jnp.array([[-2000.0, -1990.0, -2001.0], [3e38, -3e38, 0.0]])
    found = np.asarray(preferences(scores, 0.01))
    np.testing.assert_allclose(found, [[0, 1, 0], [1, 0, 0]], atol=1e-6)

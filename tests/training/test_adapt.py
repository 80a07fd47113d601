import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, world

from ialp_jax.agents.base import Agent, AgentState, frozen_state
from ialp_jax.agents.reference import popular
from ialp_jax.agents.sampling import sample
from ialp_jax.errors import InputError
from ialp_jax.networks.heads import mask_shown
from ialp_jax.simulator.dynamics_params import Dynamics, Segments
from ialp_jax.training.adapt import OnlineTask, adapt, evaluation_points
from ialp_jax.training.config import UNIT, AdaptConfig, EvaluationConfig

EPISODES = EvaluationConfig(episodes=32, ends=32, points=4)
CURVES = {"env_steps", "return", "length", "reward_per_step", "coverage", "gini"}


def bandit(rate=3.0, poison=None):
    """An agent with one logit per item, for REINFORCE. Adds ``poison(env_steps, params)`` to its metric."""

    def init(key, observation, pretrained=None):
        params = jax.random.normal(key, (ITEMS,)) if pretrained is None else pretrained
        return frozen_state(params)

    def act(state, observation, key, greedy=False):
        rows = jnp.broadcast_to(state.params, (*observation.history.shape[:-1], ITEMS))
        return sample(key, mask_shown(rows, observation.shown)), {}

    def update(state, batch, key):
        taken = jax.nn.one_hot(batch.action, ITEMS) - jax.nn.softmax(state.params)
        params = state.params + rate * jnp.mean(taken * (batch.reward - 0.3)[..., None], (0, 1))
        steps = state.env_steps + batch.reward.size
        metric = batch.reward.mean() + (0.0 if poison is None else poison(steps, state.params))
        return AgentState(params, (), steps), {"like_rate": metric, "noise": jax.random.uniform(key)}

    return Agent(init, act, update, num_users=20, rollout_length=10)


def run(agent, seeds=2, by="map", steps=3000, key=0, where="two_tastes", **more):
    evaluation = world(where).replace(users=jnp.array([0, 1]))
    config = AdaptConfig(env_steps=steps, seeds_by=by)
    key = jax.random.key(key)
    task = OnlineTask(ENV, world("two_tastes"), evaluation, key, seeds, config, EPISODES)
    return adapt(task, agent, **more)


@pytest.fixture(scope="module")
def curves():
    return run(bandit())


def test_evaluation_points():
    for steps, points in ((1000, 2), (1000, 16), (4000, 4), (21_000, 12), (50_000, 16), (200_000, 2)):
        result = evaluation_points(steps, points)
        assert result[0] == 0
        assert result[-1] == steps
        assert all(a < b for a, b in itertools.pairwise(result))
        assert all(point % UNIT == 0 for point in result)
    assert evaluation_points(50_000, 16)[:9] == [0, 1000, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000]
    later = np.diff(evaluation_points(50_000, 16)[8:])
    assert len(later) == 7
    assert set(later) <= {4000, 5000}
    assert evaluation_points(2000, 5) == [0, 1000, 2000]


def test_shapes_and_names(curves):
    assert set(curves) == CURVES | {"learn/like_rate", "learn/noise"}
    assert curves["env_steps"].tolist() == [0, 1000, 2000, 3000]
    assert all(curves[name].shape == (2, 4) for name in curves if name != "env_steps")
    assert np.isnan(curves["learn/like_rate"][:, 0]).all()
    assert np.isfinite(curves["learn/like_rate"][:, 1:]).all()


def test_each_seed_starts_from_its_pretrained_parameters_and_frozen_agents_keep_them():
    """All evaluation users have taste A. One seed recommends items of taste A, the other seed avoids them."""
    keen = jnp.full(ITEMS, -9.0).at[2:9].set(9.0)
    result = run(bandit()._replace(update=None), pretrained=jnp.stack([keen, -keen]))
    np.testing.assert_allclose(result["return"], [[6, 6], [0, 0]], atol=0.3)
    assert result["env_steps"].tolist() == [0, 3000]
    assert set(result) == CURVES


def test_two_seeds_differ(curves):
    for name in ("return", "learn/like_rate", "learn/noise"):
        assert (curves[name][0, 1:] != curves[name][1, 1:]).any(), name


def test_a_seed_has_the_same_bits_with_and_without_other_seeds(curves):
    alone = run(bandit(), seeds=1)
    for name, values in curves.items():
        np.testing.assert_array_equal(values[:1] if name != "env_steps" else values, alone[name])


def test_how_seeds_share_the_device_does_not_matter(curves):
    for name, values in run(bandit(), by="vmap").items():
        np.testing.assert_allclose(curves[name], values, atol=0.05)


def test_every_agent_and_seed_is_evaluated_with_the_same_users_and_answers():
    """In the coin world the return depends on random answers, not on recommendations."""
    popularity = np.arange(ITEMS + 1)
    result = run(popular(popularity), seeds=4, where="coin")
    assert result["return"].shape == (4, 2)
    assert (result["return"] == result["return"][0, 0]).all()
    other = run(popular(popularity[::-1]), seeds=4, where="coin")
    np.testing.assert_array_equal(result["return"], other["return"])
    again = run(popular(popularity), seeds=4, where="coin", key=1)
    assert (again["return"] != result["return"]).all()


def test_a_metric_that_is_not_finite_is_named():
    def poison(steps, params):
        """NaN for the second seed only, after 1,600 steps."""
        bad = (steps > 1600) & (params[0] != first)
        return jnp.where(bad, jnp.nan, 0.0)

    # With learning rate 0, the first logit distinguishes the seeds.
    first = jnp.float32(0.25)
    start = jnp.stack([jnp.full(ITEMS, 0.25), jnp.full(ITEMS, 0.5)])
    with pytest.raises(
        InputError, match=r"^adapt toy: like_rate is nan in env steps 1001 to 2000, seed 1;.*learning_rate"
    ):
        run(bandit(0.0, poison), pretrained=start, name="toy")


def test_steps_per_update_must_divide_the_unit():
    with pytest.raises(InputError, match="num_users"):
        run(bandit()._replace(rollout_length=7))


def test_impossible_settings_are_refused():
    for config in (AdaptConfig(env_steps=1500), AdaptConfig(env_steps=0), AdaptConfig(seeds_by="pmap")):
        with pytest.raises(InputError, match=r"--config\.adapt\."):
            config.check()
    for config in (
        EvaluationConfig(episodes=0),
        EvaluationConfig(points=1),
        EvaluationConfig(users="online"),
    ):
        with pytest.raises(InputError, match=r"--config\.evaluation\."):
            config.check()


def test_each_segment_of_users_has_its_curves():
    segments = Segments(jnp.array([0, 1, 0, 0]), jnp.float32(0.5), jnp.float32(0), jnp.zeros(ITEMS + 1))
    params = world("patience").replace(dynamics=Dynamics(segments=segments), users=jnp.array([0, 1]))
    config = AdaptConfig(env_steps=UNIT, seeds_by="map")
    agent = popular(np.arange(ITEMS + 1))  # a bad policy: nobody likes the last items
    result = adapt(OnlineTask(ENV, params, params, jax.random.key(0), 2, config, EPISODES), agent)
    assert result["length/patient_mainstream"].shape == result["return"].shape
    np.testing.assert_array_equal(result["length/patient_mainstream"], 2.0)
    np.testing.assert_array_equal(result["length/impatient_mainstream"], 1.0)
    assert np.isnan(result["return/patient_niche"]).all()

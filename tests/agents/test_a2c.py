import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, decided_params, start_of, world
from scipy import stats

from ialp_jax.agents import acting
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.actor_critic import estimate, next_values, scaled, with_critic_and_entropy
from ialp_jax.agents.config import WarmA2CConfig
from ialp_jax.networks.heads import mask_shown
from ialp_jax.training.rollout import collect, start_users

RATE = 3e-3
CONFIG = WarmA2CConfig(3, 9, RATE, trace=1.0, value_cost=0.4, entropy_cost=0.2)
AGENT = a2c(CONFIG, ACTOR_CRITIC)


def test_losses_by_hand():
    """With lambda 1, A2C uses Monte Carlo returns up to the end of the session or of the rollout."""
    params = jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), start_of(0).history)
    state = AGENT.init(jax.random.key(0), start_of(0), jax.tree.map(lambda leaf: 2 * leaf, params))

    def run(state):
        users = start_users(ENV, world("coin_leaves"), jax.random.key(1), 3)
        batch = collect(ENV, world("coin_leaves"), AGENT, state, users, jax.random.key(2))[1]
        after, metrics = AGENT.update(state, batch, jax.random.key(0))
        seen = batch.observation.history, batch.next_observation.history
        now, later = (ACTOR_CRITIC.apply(state.params, history) for history in seen)
        policy = jax.nn.log_softmax(mask_shown(now.logits, batch.observation.shown))
        return after, metrics, batch, policy, now.value, later.value

    after, metrics, batch, policy, values, beyond = jax.tree.map(np.asarray, jax.jit(run)(state))
    returns, later = np.zeros((9, 3)), beyond[-1]
    for t in reversed(range(9)):
        later = np.where(batch.truncated[t], beyond[t], later)
        later = batch.reward[t] + CONFIG.discount * np.where(batch.terminated[t], 0.0, later)
        returns[t] = later
    chosen = np.take_along_axis(policy, batch.action[..., None], -1)[..., 0]
    actor = -np.mean((returns - values) * chosen)
    critic = 0.5 * np.mean((returns - values) ** 2)
    entropy = -np.mean(np.sum(np.exp(policy) * policy, -1))
    assert metrics["actor_loss"] == pytest.approx(actor, rel=1e-3)
    assert metrics["critic_loss"] == pytest.approx(critic, rel=1e-3)
    assert metrics["entropy"] == pytest.approx(entropy, rel=1e-3)
    assert metrics["value"] == pytest.approx(values.mean(), rel=1e-3)
    assert metrics["loss"] == pytest.approx(actor + 0.4 * critic - 0.2 * entropy, rel=1e-3)
    assert after.env_steps == 27


@pytest.mark.parametrize("name", ["coin_leaves", "two_tastes"])
def test_the_values_of_what_follows_are_those_of_the_next_observations(name):
    """If a rollout is not longer than the horizon, the agent computed most of these values as it acted."""
    agent = a2c(WarmA2CConfig(12, 5, RATE), ACTOR_CRITIC)
    params = jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), start_of(0).history)
    state = agent.init(jax.random.key(0), start_of(0), jax.tree.map(lambda leaf: 2 * leaf, params))

    def run(state):
        users, found = start_users(ENV, world(name), jax.random.key(1), 12), []
        for number in range(6):
            users, batch = collect(ENV, world(name), agent, state, users, jax.random.key(number))
            whole = ACTOR_CRITIC.apply(state.params, batch.next_observation.history).value
            found.append((next_values(ACTOR_CRITIC, state.params, batch), whole, batch))
        return found

    middle = 0
    for few, whole, batch in jax.jit(run)(state):
        stays = ~np.asarray(batch.terminated)
        np.testing.assert_allclose(few[stays], whole[stays], rtol=1e-5)
        middle += batch.truncated[:-1].sum()
    assert middle > 0  # some sessions were truncated before the last step of the rollout


def test_the_entropy_bonus_flattens_and_advantages_are_constants():
    logits, values = jnp.array([[2.0, 0.0, 0.0]]), jnp.zeros(1)

    def loss(logits, values):
        return with_critic_and_entropy(CONFIG, jnp.float32(0), values, jnp.ones(1), logits)[0]

    by_logits, by_values = jax.grad(loss, argnums=(0, 1))(logits, values)
    assert by_logits[0, 0] > 0  # descent lowers the highest logit
    assert float(by_values[0]) == pytest.approx(-0.4)


def test_acting_in_huge_catalogues_streams_and_draws_from_the_same_policy(monkeypatch):
    count = 4000
    observation = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), start_of(0))
    observation = observation._replace(shown=observation.shown.at[:, -1].set(2))
    state = AGENT.init(jax.random.key(0), start_of(0), decided_params(0))
    calls, streamed = [], acting.choose_streamed
    monkeypatch.setattr(acting, "choose_streamed", lambda *rest: calls.append(rest) or streamed(*rest))
    counts, best = [], []
    for limit in (acting.STREAM_FROM, 100):
        monkeypatch.setattr(acting, "STREAM_FROM", limit)
        counts.append(np.bincount(AGENT.act(state, observation, jax.random.key(1))[0], minlength=ITEMS))
        best.append(AGENT.act(state, observation, jax.random.key(1), greedy=True)[0])
    assert len(calls) == 2
    assert counts[0][1] == counts[1][1] == 0
    possible = counts[0] + counts[1] > 0
    assert stats.chi2_contingency(np.stack(counts)[:, possible]).pvalue > 1e-3
    np.testing.assert_array_equal(*best)


@pytest.mark.parametrize("critic_start", ["random", "pretrained"])
def test_the_policy_starts_from_pretraining_and_the_critic_from_where_it_should(critic_start):
    init = jax.jit(ACTOR_CRITIC.init)
    pretrained = init(jax.random.key(1), start_of(0).history)
    agent = a2c(WarmA2CConfig(critic_start=critic_start), ACTOR_CRITIC)
    state = agent.init(jax.random.key(2), start_of(0), pretrained)
    before = ACTOR_CRITIC.apply(pretrained, start_of(0).history)
    after = ACTOR_CRITIC.apply(state.params, start_of(0).history)
    np.testing.assert_array_equal(before.logits, after.logits)
    assert (float(before.value) == float(after.value)) == (critic_start == "pretrained")
    soft = a2c(WarmA2CConfig(critic_start=critic_start, temperature_factor=4.0), ACTOR_CRITIC)
    softened = ACTOR_CRITIC.apply(
        soft.init(jax.random.key(2), start_of(0), pretrained).params, start_of(0).history
    )
    np.testing.assert_array_equal(softened.logits, before.logits / 4)
    assert float(softened.value) == float(after.value)
    scratch = agent.init(jax.random.key(2), start_of(0), None)
    assert float(scratch.params["params"]["actor"]["Dense_0"]["kernel"][0, 0]) != float(
        state.params["params"]["actor"]["Dense_0"]["kernel"][0, 0]
    )


def test_normalised_advantages_have_mean_0_and_deviation_1_over_the_learned_steps():
    """A step without weight counts neither for mean and deviation nor, through them, for other steps."""
    config = WarmA2CConfig(normalise_advantages=True)
    advantages, weight = jnp.array([[4.0, 8.0], [6.0, 99.0]]), jnp.array([[1.0, 1.0], [1.0, 0.0]])
    learned = scaled(config, advantages, weight)[weight > 0]
    np.testing.assert_allclose(learned, (np.array([4, 8, 6]) - 6) / np.std([4, 8, 6]), rtol=1e-5)
    np.testing.assert_allclose(np.std(scaled(config, advantages)), 1, rtol=1e-5)
    assert (scaled(config, jnp.ones((2, 2))) == 0).all()  # equal advantages say nothing
    assert scaled(WarmA2CConfig(), advantages, weight) is advantages


def test_normalising_changes_the_advantages_but_not_the_returns():
    params = jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), start_of(0).history)
    state = AGENT.init(jax.random.key(0), start_of(0), params)
    users = start_users(ENV, world("coin_leaves"), jax.random.key(1), 3)
    batch = collect(ENV, world("coin_leaves"), AGENT, state, users, jax.random.key(2))[1]
    plain, normal = (
        estimate(ACTOR_CRITIC, params, batch, WarmA2CConfig(normalise_advantages=on)) for on in (False, True)
    )
    np.testing.assert_array_equal(plain[1], normal[1])
    expected = (plain[0] - plain[0].mean()) / plain[0].std()
    np.testing.assert_allclose(normal[0], expected, rtol=1e-3, atol=1e-4)

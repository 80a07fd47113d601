import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, HISTORIES, HORIZON, ITEMS, decided_params, start_of

from ialp_jax.agents.config import IALPConfig
from ialp_jax.agents.ialp import ialp, pretrain_loss
from ialp_jax.types import Observation, Transition

GAMMA = 0.8


@pytest.fixture(scope="module")
def setting():
    """(params, target params, transitions [4]). One is terminated, one truncated, and two are neither."""
    params, target = decided_params(0), decided_params(1)
    history, shown = HISTORIES, np.pad(HISTORIES, [(0, 0), (0, HORIZON)])
    action = np.array([4, 8, 11, 3], np.int32)
    later, later_shown = history.copy(), shown.copy()
    later[:3] = np.concatenate([history[:3, 1:], action[:3, None] + 1], 1)
    later_shown[:, 4] = action + 1
    batch = Transition(
        Observation(history, shown),
        action,
        np.array([1, 1, 1, 0], np.float32),
        np.array([False, True, False, False]),
        np.array([False, False, True, False]),
        Observation(later, later_shown),
        {},
    )
    return params, target, batch


def parts(params, observation):
    """Computes log-policy, V and Q with numpy from the network's raw output. Shown items are excluded."""
    output = jax.tree.map(lambda x: np.asarray(x, np.float64), apply(params, observation.history))
    free = np.ones(output.logits.shape, bool)
    for row, ids in zip(free, observation.shown, strict=True):
        row[ids[ids > 0] - 1] = False
    weights = np.where(free, np.exp(output.logits - output.logits.max()), 0)
    policy = weights / weights.sum(-1, keepdims=True)
    mean = (policy * output.preference).sum(-1, keepdims=True)
    q = np.where(free, output.value[:, None] + output.preference - mean, -np.inf)
    with np.errstate(divide="ignore"):
        return np.log(policy), output.value, q


apply = jax.jit(ACTOR_CRITIC.apply)
NAMES = ("discount", "actor_weight", "alternatives", "backup", "critic_cost", "entropy_cost")
loss = jax.jit(
    lambda p, t, b, config: pretrain_loss(
        IALPConfig(**dict(zip(NAMES, config, strict=True))), ACTOR_CRITIC, p, t, b
    ),
    static_argnums=3,
)


@pytest.mark.parametrize(
    ("actor_weight", "backup"),
    [("reward", "policy"), ("q", "max"), ("advantage", "policy"), ("reward", "max")],
)
def test_loss_by_hand(setting, actor_weight, backup):
    params, target, batch = setting
    value, metrics = loss(params, target, batch, (GAMMA, actor_weight, "candidates", backup, 0.7, 0.3))
    rows = np.arange(4)
    log_policy, _, q = parts(params, batch.observation)
    _, target_v, target_q = parts(target, batch.observation)
    if backup == "policy":
        beyond = parts(target, batch.next_observation)[1]
    else:
        best = parts(params, batch.next_observation)[2].argmax(-1)
        beyond = parts(target, batch.next_observation)[2][rows, best]
    error = np.abs(q[rows, batch.action] - (batch.reward + GAMMA * ~batch.terminated * beyond))
    critic = np.mean(np.where(error <= 1, 0.5 * error**2, error - 0.5))
    weight = {
        "reward": batch.reward,
        "q": target_q[rows, batch.action],
        "advantage": target_q[rows, batch.action] - target_v,
    }[actor_weight]
    if actor_weight != "reward":
        assert (weight < 0).any()  # otherwise the test would not check the clipping at 0
    actor = -np.mean(np.maximum(weight, 0) * log_policy[rows, batch.action])
    with np.errstate(invalid="ignore"):
        bonus = -np.nansum(np.exp(log_policy) * log_policy, -1).mean()
    assert float(metrics["critic_loss"]) == pytest.approx(critic, rel=1e-3)
    assert float(metrics["actor_loss"]) == pytest.approx(actor, rel=1e-3, abs=1e-6)
    assert float(metrics["entropy"]) == pytest.approx(bonus, rel=1e-3)
    assert float(value) == pytest.approx(actor + 0.7 * critic - 0.3 * bonus, rel=1e-3)


@pytest.mark.parametrize("alternatives", ["candidates", "catalogue"])
def test_a_labels_choice_is_among_its_alternatives(setting, alternatives):
    params, target, batch = setting
    candidates = np.array([[4, 0, 7], [2, 8, 3], [11, 12, 13], [3, 2, 5]], np.int32)
    asked = batch._replace(extras={"candidate_actions": candidates})
    _, metrics = loss(params, target, asked, (GAMMA, "reward", alternatives, "policy", 0.7, 0.3))
    log_policy = parts(params, batch.observation)[0]
    rows = np.arange(4)
    chosen = log_policy[rows, batch.action]
    among = np.log(np.exp(np.take_along_axis(log_policy, candidates, 1)).sum(1))
    expected = chosen - among if alternatives == "candidates" else chosen
    actor = -np.mean(batch.reward * np.where(batch.reward > 0, expected, 0))
    assert float(metrics["actor_loss"]) == pytest.approx(actor, rel=1e-3)


def test_the_critics_loss_does_not_move_the_actor(setting):
    """Without rewards, only the critic's loss remains. It must not change the actor."""
    params, target, batch = setting
    none = batch._replace(reward=np.zeros(4, np.float32))

    def total(params):
        config = IALPConfig(discount=GAMMA, entropy_cost=0.0)
        return pretrain_loss(config, ACTOR_CRITIC, params, target, none)[0]

    gradient = jax.jit(jax.grad(total))(params)["params"]
    assert float(jnp.abs(jax.tree.leaves(gradient["advantage"])[0]).max()) > 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["actor"]))


def test_an_impossible_action_has_no_probability_and_the_frozen_agent_no_update(setting):
    params, _, batch = setting
    agent = ialp(ACTOR_CRITIC)
    assert agent.update is None
    state = agent.init(jax.random.key(0), start_of(0), params)
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[2], (3000, leaf.shape[-1])), batch.observation)
    drawn = np.bincount(jax.jit(agent.act)(state, rows, jax.random.key(0))[0], minlength=ITEMS)
    assert drawn[[1, 6, 8]].sum() == 0
    policy = np.exp(parts(params, batch.observation)[0][2])
    np.testing.assert_allclose(drawn / 3000, policy, atol=0.05)
    greedy, _ = agent.act(state, rows, jax.random.key(0), greedy=True)
    assert (greedy == policy.argmax()).all()

"""Tests agents that learn from a replay buffer: losses computed by hand, draws and settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, start_of, world

from ialp_jax.agents import replay
from ialp_jax.agents.config import OffPolicyConfig, PEXConfig, RLPDConfig, WSRLConfig
from ialp_jax.agents.offpolicy import actor_critic_loss
from ialp_jax.agents.pex import choose, pex
from ialp_jax.agents.rlpd import draw_both, rlpd
from ialp_jax.agents.wsrl import wsrl
from ialp_jax.networks.heads import CRITIC_HEADS, ActorCriticOutput
from ialp_jax.training.rollout import collect, start_users
from ialp_jax.types import Observation

START = start_of(0)
SMALL = {"num_users": 4, "rollout_length": 5, "batch_size": 8, "capacity": 40, "gradient_steps": 1}
apply = jax.jit(ACTOR_CRITIC.apply)


@pytest.fixture(scope="module")
def networks():
    """Three sets of strong parameters: learner, target, frozen policy."""
    init = jax.jit(ACTOR_CRITIC.init)
    return [jax.tree.map(lambda leaf: 2 * leaf, init(jax.random.key(n), START.history)) for n in range(3)]


@pytest.fixture(scope="module")
def experience(networks):
    """Transitions [5, 4] of an untrained policy; the first dislike ends a session."""
    agent = wsrl(WSRLConfig(**SMALL), ACTOR_CRITIC)

    def run(params):
        users = start_users(ENV, world("coin_leaves"), jax.random.key(1), 4)
        state = agent.init(jax.random.key(0), START, params)
        return collect(ENV, world("coin_leaves"), agent, state, users, jax.random.key(2))[1]

    return jax.jit(run)(networks[0])


def flat(batch):
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)


def parts(params, observation):
    """Computes policy, V and Q [..., N] with numpy. For shown items, the policy is 0 and Q is NaN."""
    output = jax.tree.map(lambda x: np.asarray(x, np.float64), apply(params, observation.history))
    free = np.ones(output.logits.shape, bool)
    for row, ids in zip(free, np.asarray(observation.shown), strict=True):
        row[ids[ids > 0] - 1] = False
    logits = np.where(free, output.logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    policy = weights / weights.sum(-1, keepdims=True)
    mean = (policy * output.preference).sum(-1, keepdims=True)
    return policy, output.value, np.where(free, output.value[:, None] + output.preference - mean, np.nan)


def of(values, action):
    return np.take_along_axis(values, np.asarray(action)[:, None], -1)[:, 0]


def huber(error):
    return np.mean(np.where(np.abs(error) <= 1, 0.5 * error**2, np.abs(error) - 0.5))


def entropy(policy):
    return -np.mean(np.sum(policy * np.log(np.where(policy > 0, policy, 1)), -1))


def test_the_actor_critics_loss_by_hand(networks, experience):
    batch, config = flat(experience), OffPolicyConfig(discount=0.7, critic_cost=0.3, entropy_cost=0.2)
    assert np.asarray(batch.terminated).any()
    params, target, _ = networks
    loss = jax.jit(lambda p, t: actor_critic_loss(config, ACTOR_CRITIC, p, t, batch))
    total, metrics = loss(params, target)
    policy, value, q = parts(params, batch.observation)
    beyond = parts(target, batch.next_observation)[1]
    error = of(q, batch.action) - np.asarray(batch.reward) - 0.7 * ~np.asarray(batch.terminated) * beyond
    actor = -np.mean(np.nansum(policy * (q - value[:, None]), -1))
    assert float(metrics["critic_loss"]) == pytest.approx(huber(error), rel=1e-3)
    assert float(metrics["actor_loss"]) == pytest.approx(actor, abs=1e-5)
    assert float(metrics["entropy"]) == pytest.approx(entropy(policy), rel=1e-3)
    assert float(total) == pytest.approx(actor + 0.3 * huber(error) - 0.2 * entropy(policy), rel=1e-3)


def test_the_actor_follows_the_critic_and_does_not_move_it(networks, experience):
    """The actor's loss has no gradient for the critic's heads. A descent step raises the policy's mean Q."""
    batch, (params, target, _) = flat(experience), networks
    config = OffPolicyConfig(critic_cost=0.0, entropy_cost=0.0)
    gradient = jax.jit(jax.grad(lambda p: actor_critic_loss(config, ACTOR_CRITIC, p, target, batch)[0]))(
        params
    )
    for head in CRITIC_HEADS:
        assert all(not leaf.any() for leaf in jax.tree.leaves(gradient["params"][head]))
    head = params["params"]["actor"]
    moved = jax.tree.map(lambda a, g: a - 0.1 * g, head, gradient["params"]["actor"])
    _, _, q = parts(params, batch.observation)
    worth = [
        np.nansum(
            parts({"params": {**params["params"], "actor": actor}}, batch.observation)[0] * q, -1
        ).mean()
        for actor in (head, moved)
    ]
    assert worth[1] > worth[0] + 1e-4


def outputs(frozen, logits, preference):
    """The inputs of `choose`, for one state in which no item was shown."""
    zero = jnp.zeros(())
    return (
        ActorCriticOutput(jnp.array(frozen), zero, jnp.zeros(len(frozen))),
        ActorCriticOutput(jnp.array(logits), zero, jnp.array(preference)),
    )


def test_pex_chooses_between_two_draws_by_the_softmax_of_their_q():
    """The frozen policy always draws item 1. The learner always draws item 3, whose Q is 0.5 higher."""
    pair = outputs([50.0, 0.0, 0.0], [0.0, 1.0, 50.0], [0.0, 9.0, 0.5])
    keys = jax.random.split(jax.random.key(0), 20_000)
    for temperature, expected in ((0.5, 1 / (1 + np.exp(-1))), (5.0, 1 / (1 + np.exp(-0.1)))):
        draw = jax.vmap(lambda key, t=temperature: choose(*pair, jnp.array([0]), key, t))
        action, worth, learner = jax.jit(draw)(keys)
        assert float(learner.mean()) == pytest.approx(expected, abs=0.015)
        np.testing.assert_array_equal(action, np.where(learner > 0, 2, 0))
        np.testing.assert_allclose(worth, np.where(learner > 0, 0.0, -0.5), atol=1e-5)
    action, _, learner = choose(*pair, jnp.array([0]), jax.random.key(0), None)
    assert (int(action), float(learner)) == (2, 1.0)
    action, _, learner = choose(*pair, jnp.array([3]), jax.random.key(0), None)  # item 3 was shown
    assert int(action) == 1


def test_pex_loss_by_hand(networks, experience):
    """The policies are peaked and the temperature is tiny, so only ties are broken at random."""
    sharp = [
        {
            "params": {
                **tree["params"],
                "actor": jax.tree.map(lambda leaf: 3e3 * leaf, tree["params"]["actor"]),
            }
        }
        for tree in networks
    ]
    config = PEXConfig(
        **SMALL, temperature=1e-6, weight_temperature=0.5, max_weight=1.2, discount=0.7, entropy_cost=0.2
    )
    agent, batch = pex(config, ACTOR_CRITIC), experience
    state = jax.jit(agent.init)(jax.random.key(0), START, sharp[2])
    one = jax.tree.map(lambda leaf: leaf[1:2, :1], batch)._replace(extras={"learner": jnp.ones((1, 1))})
    state = state._replace(params=networks[0], memory=state.memory._replace(target=sharp[1]))
    metrics = jax.jit(agent.update)(state, one, jax.random.key(0))[1]

    def taken(observation):
        policy, value, q = parts(sharp[1], observation)
        pair = policy.argmax(-1), parts(sharp[2], observation)[0].argmax(-1)
        return np.where(of(q, pair[0]) > of(q, pair[1]), *pair), np.maximum(*(of(q, a) for a in pair)), value

    row = jax.tree.map(lambda leaf: leaf[0], one)
    policy, _, q = parts(networks[0], row.observation)
    action, worth, value = taken(row.observation)
    weight = np.minimum(np.exp((worth - value) / 0.5), 1.2)
    beyond = taken(row.next_observation)[1] * ~np.asarray(row.terminated)
    assert float(metrics["critic_loss"]) == pytest.approx(
        huber(of(q, row.action) - np.asarray(row.reward) - 0.7 * beyond), rel=1e-2
    )
    assert float(metrics["weight"]) == pytest.approx(weight[0], rel=1e-2)
    assert float(metrics["actor_loss"]) == pytest.approx(
        -np.mean(weight * np.log(of(policy, action))), rel=1e-2
    )
    assert float(metrics["learner"]) == 1.0


def test_where_pex_starts(networks):
    theta = networks[0]
    same = {"pretrained": True, "random": False}
    for policy in same:
        for critic in same:
            agent = pex(PEXConfig(**SMALL, start=policy, critic_start=critic), ACTOR_CRITIC)
            state = jax.jit(agent.init)(jax.random.key(5), START, theta)
            for head, expected in (("actor", policy), ("critic", critic), ("advantage", critic)):
                mine, theirs = (p["params"][head]["Dense_0"]["kernel"] for p in (state.params, theta))
                assert bool((mine == theirs).all()) == same[expected]
            kept = zip(jax.tree.leaves(state.memory.fixed), jax.tree.leaves(theta), strict=True)
            assert all((a == b).all() for a, b in kept)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_rlpd_draws_the_share_of_labelled_transitions(experience, share, expected):
    online, labelled = experience._replace(reward=experience.reward + 10), flat(experience)
    held = replay.add(replay.empty(START, 40), online)
    drawn = draw_both(held, labelled._replace(extras={}), jax.random.key(0), 8, share)
    assert int((drawn.reward < 5).sum()) == expected
    assert {len(leaf) for leaf in jax.tree.leaves(drawn)} == {8}
    for row in range(8):  # rows stay together
        at = np.flatnonzero((np.asarray(labelled.observation.shown) == drawn.observation.shown[row]).all(1))
        assert int(drawn.action[row]) in np.asarray(labelled.action)[at]


def test_rlpd_learns_from_the_labels_it_was_given(networks, experience):
    """If batches contain only labels, the parameters depend on the labels and not on online steps."""
    config = RLPDConfig(**SMALL, labelled_share=1.0)
    after = []
    for reward, action in ((0.0, 0), (100.0, 0), (100.0, 3)):
        labelled = flat(experience)._replace(reward=jnp.full(20, reward))
        agent = rlpd(config, ACTOR_CRITIC, labelled)
        state = jax.jit(agent.init)(jax.random.key(0), START, networks[0])
        online = experience._replace(action=jnp.full((5, 4), action))
        after.append(jax.tree.leaves(jax.jit(agent.update)(state, online, jax.random.key(1))[0].params))
    assert any((a != b).any() for a, b in zip(*after[:2], strict=True))
    assert all((a == b).all() for a, b in zip(*after[1:], strict=True))


def test_wsrl_moves_the_critics_heads_alone_until_it_is_warm(networks, experience):
    config = WSRLConfig(**SMALL, warmup_steps=40)
    agent = wsrl(config, ACTOR_CRITIC)
    update = jax.jit(agent.update)
    state = jax.jit(agent.init)(jax.random.key(0), START, networks[0])
    seen = START._replace(history=jnp.array([0, 0, 1, 7]))
    policy = apply(state.params, seen.history).logits
    for number, warm in enumerate((0.0, 0.0, 1.0)):
        before = state.params["params"]
        state, metrics = update(state, experience, jax.random.key(number))
        assert float(metrics["warm"]) == warm
        for name, tree in state.params["params"].items():
            pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(before[name]), strict=True)
            assert any((a != b).any() for a, b in pairs) == (name in CRITIC_HEADS or warm > 0), name
        same = bool((apply(state.params, seen.history).logits == policy).all())
        assert same == (warm == 0)


def test_gradient_steps_and_the_target_rate_act(networks, experience):
    base = WSRLConfig(**SMALL, warmup_steps=0)
    after = {}
    for name, change in (("base", {}), ("steps", {"gradient_steps": 3}), ("rate", {"target_rate": 1.0})):
        agent = wsrl(dataclasses.replace(base, **change), ACTOR_CRITIC)
        state = jax.jit(agent.init)(jax.random.key(0), START, networks[0])
        after[name] = jax.jit(agent.update)(state, experience, jax.random.key(1))[0]
    kernel = {name: s.params["params"]["actor"]["Dense_0"]["kernel"] for name, s in after.items()}
    assert (kernel["base"] != kernel["steps"]).any()
    target = {name: s.memory.target["params"]["actor"]["Dense_0"]["kernel"] for name, s in after.items()}
    np.testing.assert_array_equal(target["rate"], kernel["rate"])
    assert (target["base"] != kernel["base"]).any()


def test_shown_items_are_never_taken(networks):
    rows = Observation(jnp.tile(START.history, (500, 1)), jnp.tile(jnp.arange(1, ITEMS), (500, 1)))
    agent = pex(PEXConfig(**SMALL), ACTOR_CRITIC)
    state = jax.jit(agent.init)(jax.random.key(0), START, networks[0])
    assert (jax.jit(agent.act)(state, rows, jax.random.key(0))[0] == ITEMS - 1).all()

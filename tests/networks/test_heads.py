import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ITEMS, LENGTH, Q_NETWORK, SMALL, start_of
from jax.extend.core import jaxpr_as_fun

from ialp_jax.agents.losses import entropy, log_prob
from ialp_jax.networks.heads import (
    MASKED,
    ActorCriticOutput,
    Recommender,
    centred_q,
    initial_params,
    mask_shown,
    tempered,
)


@pytest.fixture(scope="module")
def output():
    keys = jax.random.split(jax.random.key(0), 3)
    return ActorCriticOutput(
        logits=3 * jax.random.normal(keys[0], (2, 3, 7)),
        value=jax.random.normal(keys[1], (2, 3)),
        preference=3 * jax.random.normal(keys[2], (2, 3, 7)),
    )


SHOWN = jnp.array([[[1, 0, 7, 1], [0, 0, 0, 0], [2, 3, 4, 5]], [[7, 7, 7, 7], [1, 2, 3, 0], [6, 0, 0, 0]]])


def test_mask_shown_changes_only_the_shown_items():
    values = np.arange(42, dtype=np.float32).reshape(2, 3, 7)
    expected = values.copy()
    for i in range(2):
        for j in range(3):
            for item in np.asarray(SHOWN[i, j]):
                if item:
                    expected[i, j, item - 1] = MASKED
    np.testing.assert_array_equal(mask_shown(jnp.asarray(values), SHOWN), expected)
    np.testing.assert_array_equal(mask_shown(jnp.asarray(values[0, 0]), SHOWN[0, 0]), expected[0, 0])


def test_centred_q_averages_to_the_value_under_the_masked_policy(output):
    values = np.asarray(centred_q(output, SHOWN), np.float64)
    masked = np.asarray(mask_shown(jnp.zeros((2, 3, 7)), SHOWN)) != 0
    assert (values[masked] == MASKED).all()
    weights = np.where(masked, 0.0, np.exp(np.asarray(output.logits, np.float64)))
    policy = weights / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose((policy * np.where(masked, 0, values)).sum(-1), output.value, atol=1e-5)
    free = ~masked
    offset = np.where(free, values - np.asarray(output.preference), np.nan)
    spread = np.nanmax(offset, -1) - np.nanmin(offset, -1)
    np.testing.assert_allclose(spread, 0, atol=1e-4)  # the offset is constant in each row


def test_gradients_are_finite_when_almost_all_items_are_masked():
    history = start_of(0).history
    params = jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), history)

    @jax.jit
    @jax.grad
    def gradient(params, shown):
        out = ACTOR_CRITIC.apply(params, history)
        logits = mask_shown(out.logits, shown)
        return log_prob(logits, jnp.int32(15)) + entropy(logits) + centred_q(out, shown)[15]

    for unmasked in (1, 2):
        leaves = jax.tree.leaves(gradient(params, jnp.arange(1, ITEMS + 1).at[-unmasked:].set(0)))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert any(np.abs(leaf).max() > 0 for leaf in leaves)


def test_masked_items_get_no_gradient():
    logits, shown = jnp.arange(5.0), jnp.array([2, 5])
    gradient = jax.grad(lambda x: log_prob(mask_shown(x, shown), jnp.int32(0)))(logits)
    assert (gradient[jnp.array([1, 4])] == 0).all()
    np.testing.assert_allclose(gradient.sum(), 0, atol=1e-6)
    assert (jnp.abs(gradient[jnp.array([0, 2, 3])]) > 1e-3).all()


def test_duelling_q_ignores_a_constant_added_to_all_advantages():
    history = jnp.stack([start_of(0).history, start_of(2).history])
    params = jax.jit(Q_NETWORK.init)(jax.random.key(0), history[0])
    apply = jax.jit(Q_NETWORK.apply)
    values = apply(params, history)
    assert values.shape == (2, ITEMS)
    assert float(values.std()) > 0
    heads = params["params"]
    shifted = {**heads, "ItemHead_0": {**heads["ItemHead_0"], "bias": heads["ItemHead_0"]["bias"] + 5.0}}
    np.testing.assert_allclose(apply({"params": shifted}, history), values, atol=1e-5)


def test_the_actors_factors_multiply_to_its_logits():
    history = jnp.stack([start_of(0).history, start_of(1).history])
    params = jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), history)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    query, table, bias = ACTOR_CRITIC.apply(params, history, method="factors")
    logits = ACTOR_CRITIC.apply(params, history).logits
    np.testing.assert_allclose(query @ table[1:].T + bias, logits, atol=1e-5)


@pytest.mark.parametrize("network", [ACTOR_CRITIC, Q_NETWORK])
def test_parameters_are_those_of_init_bit_for_bit_without_a_run_of_the_network(network, monkeypatch):
    keys, history = jax.random.split(jax.random.key(5), 2), jnp.zeros(4, jnp.int32)
    expected = jax.vmap(lambda key: network.init(key, history))(keys)
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.vmap(lambda key: initial_params(network, key, history))(keys),
        expected,
    )
    operations = []
    monkeypatch.setattr(
        "ialp_jax.networks.heads.jaxpr_as_fun",
        lambda closed: operations.extend(closed.jaxpr.eqns) or jaxpr_as_fun(closed),
    )
    initial_params(network, keys[0], history)
    names = {operation.primitive.name for operation in operations}
    assert not names & {"dot_general", "gather", "reduce_sum", "reduce_max", "exp"}


HISTORIES = np.array([[0, 0, 0, 1], [0, 3, 9, 2], [0, 0, 0, 0]], np.int32)


@pytest.mark.parametrize("temperature", [0.0625, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("seeds", [0, 2])
def test_a_temperature_divides_the_logits_and_changes_nothing_else(temperature, seeds):
    def init(key):
        params = initial_params(ACTOR_CRITIC, key, HISTORIES[0])
        bias = jax.random.normal(key, (ITEMS,))  # it starts at 0
        params["params"]["actor"]["bias"] = bias
        params["params"]["actor"]["Dense_0"]["bias"] = bias
        return params

    key = jax.random.key(1)
    params = jax.vmap(init)(jax.random.split(key, seeds)) if seeds else init(key)
    apply = jax.vmap(ACTOR_CRITIC.apply, (0, None)) if seeds else ACTOR_CRITIC.apply
    before, after = (apply(each, HISTORIES) for each in (params, tempered(params, temperature)))
    np.testing.assert_allclose(after.logits, before.logits / temperature, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(after.value, before.value)
    np.testing.assert_array_equal(after.preference, before.preference)
    if temperature in (0.0625, 1.0, 4.0):  # the division is exact
        np.testing.assert_array_equal(after.logits, before.logits / temperature)
    traced = apply(jax.jit(tempered)(params, jnp.float32(temperature)), HISTORIES)
    np.testing.assert_allclose(traced.logits, after.logits, rtol=2e-5, atol=1e-6)


def test_the_supervised_recommender_has_a_temperature_too():
    network = Recommender(ITEMS, LENGTH, SMALL)
    params = initial_params(network, jax.random.key(1), HISTORIES[0])
    scores, sharp = (network.apply(each, HISTORIES) for each in (params, tempered(params, 0.25)))
    np.testing.assert_array_equal(sharp, 4 * scores)
    factors, sharp_factors = (
        network.apply(each, HISTORIES, method="factors") for each in (params, tempered(params, 0.25))
    )
    np.testing.assert_array_equal(sharp_factors[0], 4 * factors[0])
    np.testing.assert_array_equal(sharp_factors[1], factors[1])

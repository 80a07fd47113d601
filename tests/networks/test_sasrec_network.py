import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.errors import InputError
from ialp_jax.networks import sasrec
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.sasrec import SASRec

LENGTH, ITEMS, WIDTH = 5, 9, 8
FULL = jnp.array([4, 7, 2, 9, 5])
PADDED = jnp.array([0, 0, 2, 9, 5])


@pytest.fixture(scope="module", params=[1, 2])
def encoder(request):
    """(network, parameters, jitted: history -> [L, D])."""
    network = SASRec(ITEMS, LENGTH, NetworkConfig(WIDTH, request.param, 2, 0.3))
    params = jax.jit(network.init)(jax.random.key(3), FULL)
    # Noise makes the parameters larger than at the start, so that attention is far from uniform.
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    return network, params, jax.jit(lambda p, h: network.apply(p, h, last_only=False))


def influence(encoder, history):
    """[L, L]. Entry (t, s) is the effect of the input embedding at position s on the output at position t."""
    _, params, encode = encoder

    def outputs(embedding):
        inner = {**params["params"], "items": {"embedding": embedding}}
        return encode({"params": inner}, history)

    jacobian = jax.jacrev(outputs)(params["params"]["items"]["embedding"])  # [L, D, N + 1, D]
    by_item = np.abs(np.asarray(jacobian)).sum((1, 3))
    return by_item[:, np.asarray(history)]


def test_no_position_sees_a_later_item(encoder):
    influences = influence(encoder, FULL)
    later = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    assert (influences[later] == 0).all()
    assert (influences[~later] > 1e-4).all()


def test_no_item_sees_padding(encoder):
    influences = influence(encoder, PADDED)
    assert (influences[2:, :2] == 0).all()
    assert (influences[2:, 2:][np.tril_indices(3)] > 1e-4).all()
    assert np.isfinite(influences).all()


@pytest.mark.parametrize("piece", [1, 2])
def test_attention_in_pieces_equals_attention_at_once(encoder, monkeypatch, piece):
    network, params, encode = encoder
    monkeypatch.setattr(sasrec, "PIECE", piece)
    for history in (FULL, PADDED):
        # This call is not jitted, because the fixture's compiled program computes attention in one piece.
        pieced = network.apply(params, history, last_only=False)
        np.testing.assert_allclose(pieced, encode(params, history), atol=1e-5)


def test_padding_has_no_effect(encoder):
    _, params, encode = encoder
    embedding = params["params"]["items"]["embedding"].at[0].set(50.0)
    other = {"params": {**params["params"], "items": {"embedding": embedding}}}
    np.testing.assert_array_equal(encode(params, PADDED)[2:], encode(other, PADDED)[2:])
    short = encode(params, PADDED[2:])
    np.testing.assert_allclose(short, encode(params, PADDED)[2:], atol=1e-5)
    assert not np.allclose(encode(params, PADDED)[-1], encode(params, FULL)[-1], atol=1e-3)


def test_the_empty_history_has_a_state(encoder):
    _, params, encode = encoder
    assert np.isfinite(encode(params, jnp.zeros(LENGTH, jnp.int32))).all()


def test_last_only_is_the_last_position_of_the_full_pass(encoder):
    network, params, encode = encoder
    histories = jnp.stack([FULL, PADDED, FULL[::-1]]).reshape(3, 1, LENGTH)
    last = jax.jit(network.apply)(params, histories)
    assert last.shape == (3, 1, WIDTH)
    full = jnp.stack([encode(params, row[0])[-1] for row in histories])
    np.testing.assert_allclose(last[:, 0], full, atol=1e-5)


def test_order_and_dropout_change_the_output(encoder):
    network, params, encode = encoder
    swapped = jnp.array([7, 4, 2, 9, 5])
    assert not np.allclose(encode(params, FULL)[-1], encode(params, swapped)[-1], atol=1e-3)
    drop = jax.jit(lambda p, key: network.apply(p, FULL, deterministic=False, rngs={"dropout": key}))
    first, second = (drop(params, jax.random.key(n)) for n in (0, 1))
    assert not np.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize(
    "changes", [{"heads": 3}, {"blocks": 0}, {"width": 0}, {"dropout": 1.0}, {"dropout": 0.001}]
)
def test_impossible_sizes_are_refused(changes):
    NetworkConfig().check()
    with pytest.raises(InputError, match=r"--config\.network\."):
        NetworkConfig(**changes).check()

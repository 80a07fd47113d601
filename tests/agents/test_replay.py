import jax
import jax.numpy as jnp
import numpy as np
from diagnostic_worlds import start_of

from ialp_jax.agents.replay import add, draw, empty
from ialp_jax.types import Observation, Transition


def numbered(first, steps, users):
    """Transitions [steps, users] with consecutive numbers as actions, from ``first`` on, in order of time."""
    action = first + jnp.arange(steps * users, dtype=jnp.int32).reshape(steps, users)

    def seen(offset):
        grow = action[..., None] * 10 + offset
        return Observation(grow + jnp.arange(4), grow + jnp.arange(10))

    flags = action % 2 == 0
    return Transition(seen(0), action, action * 1.0, flags, ~flags, seen(5), {"alpha": action * 1.0})


def test_the_newest_push_out_the_oldest():
    replay = empty(start_of(0), 7)
    for first, expected in (
        (1, {0, 1, 2, 3, 4}),  # 0: room not used yet
        (5, {2, 3, 4, 5, 6, 7, 8}),
        (9, {6, 7, 8, 9, 10, 11, 12}),
        (13, {10, 11, 12, 13, 14, 15, 16}),
    ):
        replay = jax.jit(add)(replay, numbered(first, 2, 2))
        assert set(np.asarray(replay.data.action).tolist()) == expected
    assert int(replay.added) == 16


def test_rows_stay_together_and_only_filled_ones_are_drawn():
    replay = add(empty(start_of(0), 50), numbered(1, 3, 2))
    drawn = jax.jit(draw, static_argnums=2)(replay, jax.random.key(0), 600)
    counts = np.bincount(drawn.action, minlength=8)
    assert counts[0] == counts[7] == 0
    assert (counts[1:7] > 60).all()
    np.testing.assert_array_equal(drawn.reward, drawn.action)
    np.testing.assert_array_equal(drawn.terminated, drawn.action % 2 == 0)
    np.testing.assert_array_equal(drawn.truncated, drawn.action % 2 == 1)
    np.testing.assert_array_equal(drawn.observation.history[:, 0], drawn.action * 10)
    np.testing.assert_array_equal(drawn.next_observation.shown[:, 1], drawn.action * 10 + 6)

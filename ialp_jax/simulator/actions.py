"""Checks the actions of agents: action a in 0..N-1 recommends item a + 1; anything else is an error."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.types import Array

HINT = "action a recommends item a + 1"


def check(actions: Array | int, num_items: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Checks the actions of a NumPy agent.

    Args:
      actions: integers in 0..N-1.
      num_items: N.
      shape: required shape; () for one user, [B] for many.

    Returns:
      The actions as int32.

    Raises:
      ValueError: the shape is wrong, or an action is not an integer or not in 0..N-1. The error message is
        one line with the wrong shape or action.
    """
    space = f"actions are integers in 0..{num_items - 1}; {HINT}"
    try:
        given = np.asarray(actions)
    except ValueError:
        raise ValueError(f"actions {_short(actions)}: not an array; {space}") from None
    if given.shape != shape:
        raise ValueError(f"actions have shape {given.shape}, expected {shape}; {space}")
    if given.dtype.kind not in "iu":
        raise ValueError(f"action {_short(_first(given))} is not an integer ({given.dtype}); {space}")
    outside = (given < 0) | (given >= num_items)
    if outside.any():
        where = f" of user {np.flatnonzero(outside)[0]}" if shape else ""
        raise ValueError(f"action {given[outside][0]}{where} is out of range; {space}")
    return given.astype(np.int32)


def check_traced(action: Array, num_items: int) -> None:
    """Checks an action in JAX; under ``jit`` and ``vmap``, only the type can be checked, not the value.

    Raises:
      ValueError: the action is not an integer, or its value is known and is outside 0..N-1.
    """
    if not isinstance(action, jax.core.Tracer):
        check(action, num_items, np.shape(action))
    elif not jnp.issubdtype(action.dtype, jnp.integer):
        raise ValueError(
            f"an action of type {action.dtype} is not an integer; "
            f"actions are integers in 0..{num_items - 1}; {HINT}"
        )


def to_item(action: Array, num_items: int) -> tuple[Array, Array]:
    """Computes the item that an action recommends, in compiled code.

    Args:
      action: int [].
      num_items: N.

    Returns:
      Item id int32 [], 1..N, or 0 if the action is out of range; and whether it is in range, bool [].
    """
    action = jnp.asarray(action, jnp.int32)
    in_range = (action >= 0) & (action < num_items)
    return jnp.where(in_range, action + 1, 0), in_range


def _first(given: np.ndarray) -> object:
    """Returns the first value that is not an integer, or the first value if all are integers."""
    broken = given[given != np.round(given)].tolist() if given.dtype.kind == "f" else []
    return next(iter([*broken, *given.flat]), given)


def _short(value: object) -> str:
    return " ".join(repr(value).split())[:60]

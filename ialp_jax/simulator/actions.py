"""Actions of an agent: action a in 0..N-1 recommends item a + 1; everything else is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.types import Array

HINT = "recommend item a + 1 by action a"


def check(actions: Array, num_items: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Checks the actions of a NumPy agent.

    Args:
      actions: whole numbers in 0..N-1.
      num_items: N.
      shape: that they must have; () for one user, [B] for many.

    Returns:
      The same as int32.

    Raises:
      ValueError: another shape, not whole numbers, or outside the space; one line that names the action.
    """
    space = f"the actions are the whole numbers 0..{num_items - 1}; {HINT}"
    try:
        given = np.asarray(actions)
    except ValueError:
        raise ValueError(f"actions {_short(actions)}: no array; {space}") from None
    if given.shape != shape:
        raise ValueError(f"actions of shape {given.shape}, not {shape}; {space}")
    if given.dtype.kind not in "iu":
        raise ValueError(f"action {_short(_first(given))} is no whole number ({given.dtype}); {space}")
    outside = (given < 0) | (given >= num_items)
    if outside.any():
        where = f" of user {np.flatnonzero(outside)[0]}" if shape else ""
        raise ValueError(f"action {given[outside][0]}{where} is outside the space; {space}")
    return given.astype(np.int32)


def check_if_known(action: Array, num_items: int) -> None:
    """As `check`, for an action in JAX: inside ``jit`` and ``vmap`` only its type can be checked.

    Raises:
      ValueError: the action is no whole number; or it is known and outside the space.
    """
    if not isinstance(action, jax.core.Tracer):
        check(action, num_items, np.shape(action))
    elif not jnp.issubdtype(action.dtype, jnp.integer):
        raise ValueError(
            f"an action of type {action.dtype} is no whole number; "
            f"the actions are the whole numbers 0..{num_items - 1}; {HINT}"
        )


def to_item(action: Array, num_items: int) -> tuple[Array, Array]:
    """The item that an action recommends, in compiled code.

    Args:
      action: int [].
      num_items: N.

    Returns:
      Item id int32 [], 1..N, or 0 for an action outside the space; and whether it is inside, bool [].
    """
    action = jnp.asarray(action, jnp.int32)
    known = (action >= 0) & (action < num_items)
    return jnp.where(known, action + 1, 0), known


def _first(given: np.ndarray) -> object:
    """The first that is no whole number, or the first of all."""
    broken = given[given != np.round(given)].tolist() if given.dtype.kind == "f" else []
    return next(iter([*broken, *given.flat]), given)


def _short(value: object) -> str:
    return " ".join(repr(value).split())[:60]

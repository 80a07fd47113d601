"""The family ``implicit_mf``: matrix factorisation of likes by alternating least squares.

Y. Hu, Y. Koren, C. Volinsky: Collaborative filtering for implicit feedback datasets. ICDM 2008.
The factors x_u of users and y_i of items minimise equation 3 of the paper. The preference p_ui is 1 for a
like and 0 otherwise, and the confidence is c_ui = 1 + alpha p_ui:

    sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (sum_u |x_u|^2 + sum_i |y_i|^2)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.types import Array, Key

_WIDTH = 32  # likes per chunk: long enough for a fast matrix product, short enough to limit padding


class Chunks(NamedTuple):
    """Lists of neighbours with different lengths, stored as C chunks of equal width in one array.

    A neighbour of a user is a liked item; a neighbour of an item is a user who likes it.

    Attributes:
      owner: int32 [C], the user or item whose neighbours are in the chunk.
      neighbour: int32 [C, width].
      present: float32 [C, width], 1 for a neighbour, 0 for padding.
    """

    owner: Array
    neighbour: Array
    present: Array


def chunks(owner: np.ndarray, neighbour: np.ndarray, num_owners: int, width: int = _WIDTH) -> Chunks:
    """Divides the neighbours of each owner (user or item) into chunks.

    Args:
      owner: int [M], the owner of each pair, 0..num_owners-1, in any order.
      neighbour: int [M], the neighbour of each pair.
      num_owners: number of lists.
      width: neighbours per chunk.
    """
    order = np.argsort(owner, kind="stable")
    owner, neighbour = owner[order], neighbour[order]
    counts = np.bincount(owner, minlength=num_owners)
    pieces = -(-counts // width)
    place = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    row = (np.cumsum(pieces) - pieces)[owner] + place // width
    table = np.zeros((pieces.sum(), width), np.int32)
    present = np.zeros(table.shape, np.float32)
    table[row, place % width] = neighbour
    present[row, place % width] = 1.0
    return Chunks(np.repeat(np.arange(num_owners), pieces).astype(np.int32), table, present)


def solve(other: Array, liked: Chunks, num_owners: int, confidence: Array, regularisation: Array) -> Array:
    """Solves for the factors of one side (users or items) while the other side is fixed.

    Equation 4 of the paper, for all rows at once:

    x_u = (Y'Y + alpha sum_{i liked} y_i y_i' + lambda I)^-1 (1 + alpha) sum_{i liked} y_i

    Args:
      other: float32 [V, F], factors of the other side.
      liked: for each row to solve for, its neighbours, as row numbers of ``other``.
      num_owners: W, the number of rows to solve for.
      confidence: alpha.
      regularisation: lambda.

    Returns:
      float32 [W, F].
    """
    rows = other[liked.neighbour] * liked.present[..., None]
    grams = jnp.einsum("cwf,cwg->cfg", rows, rows)
    gram = jax.ops.segment_sum(grams, liked.owner, num_owners, indices_are_sorted=True)
    total = jax.ops.segment_sum(rows.sum(axis=1), liked.owner, num_owners, indices_are_sorted=True)
    shared = other.T @ other + regularisation * jnp.eye(other.shape[1])
    factor = jax.scipy.linalg.cho_factor(shared + confidence * gram)
    return jax.scipy.linalg.cho_solve(factor, (1.0 + confidence) * total[..., None])[..., 0]


@functools.partial(jax.jit, static_argnames=("num_users", "num_items", "factors", "iterations"))
def factorise(
    key: Key,
    by_user: Chunks,
    by_item: Chunks,
    confidence: Array,
    regularisation: Array,
    *,
    num_users: int,
    num_items: int,
    factors: int,
    iterations: int,
) -> tuple[Array, Array]:
    """Factorises the likes: solves for users and items in turn, starting from random item factors.

    Args:
      key: draws the first item factors.
      by_user: item indices 0..N-1 of each user.
      by_item: user indices of each item.
      confidence: alpha.
      regularisation: lambda.
      num_users: U.
      num_items: N.
      factors: F.
      iterations: sweeps over both sides.

    Returns:
      float32 [U, F] and [N, F].
    """
    items = 0.1 * jax.random.normal(key, (num_items, factors))
    users = jnp.zeros((num_users, factors))

    def sweep(_: Array, sides: tuple[Array, Array]) -> tuple[Array, Array]:
        users = solve(sides[1], by_user, num_users, confidence, regularisation)
        return users, solve(users, by_item, num_items, confidence, regularisation)

    return jax.lax.fori_loop(0, iterations, sweep, (users, items))

"""The family ``graph_filter``: an ideal low-pass filter on the graph of users and items.

Y. Shen, Y. Wu, Y. Zhang, C. Shan, J. Zhang, K. Letaief, D. Li: How Powerful is Graph Convolution for
Recommendation? CIKM 2021 (GF-CF; its ideal low-pass part). R is the matrix of likes (users by items). The
diagonal matrices D_U and D_I hold the number of likes of each user and of each item. V holds the leading
right singular vectors of D_U^-1/2 R D_I^-1/2. Then:

    scores = R D_I^-1/2 V V' D_I^1/2

The factors come from one singular value decomposition, without iterations over users and items. D_I^-1/2
reduces the influence of popular items.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from ialp_jax import keys


def low_pass(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int, factors: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Computes user and item factors whose products are the scores.

    Args:
      user, item: int [M], likes; items 0..N-1.
      num_users: U.
      num_items: N.
      factors: F, number of singular vectors; at most min(U, N) - 1 are used.
      seed: seed of the random start vector of the decomposition.

    Returns:
      float32 [U, F] and [N, F].
    """
    by_user = np.maximum(np.bincount(user, minlength=num_users), 1)
    by_item = np.maximum(np.bincount(item, minlength=num_items), 1)
    shape = (num_users, num_items)
    likes = sparse.csr_array((by_item[item] ** -0.5, (user, item)), shape)  # R D_I^-1/2
    normal = sparse.csr_array((by_user[user] ** -0.5 * by_item[item] ** -0.5, (user, item)), shape)
    start = keys.generator(seed, "init").normal(size=min(shape))
    vectors = svds(normal, min(factors, min(shape) - 1), v0=start)[2].T
    return (likes @ vectors).astype(np.float32), (vectors * by_item[:, None] ** 0.5).astype(np.float32)

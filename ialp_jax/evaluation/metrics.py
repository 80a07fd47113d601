"""Metrics that summarise a learning curve: one number per metric and seed. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

METRICS = (
    "initial_return",
    "final_return",
    "final_length",
    "worst_drop",
    "auc_return",
    "regain_steps",
    "reward_per_step",
    "coverage",
    "category_entropy",
    "gini",
)
LATE = 0.2  # share of a run in which a return that does not rise counts as stagnation
CURVES = ("return", "length", "reward_per_step", "coverage", "category_entropy", "gini")
SEGMENT_CURVES = ("return/", "length/")  # before a segment's name: "return/patient_niche"


def worst_drop(returns: np.ndarray) -> np.ndarray:
    """Computes the largest drop of the return below its value at the first evaluation point.

    Args:
      returns: float [S, E], mean return at each evaluation point.

    Returns:
      float [S], ``max_e(returns[:, 0] - returns[:, e])``; at least 0, because e = 0 is included.
    """
    return (returns[:, :1] - returns).max(axis=1)


def auc_return(env_steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Computes a mean return over training: the area under the curve divided by the number of env steps.

    Args:
      env_steps: int [E], ascending.
      returns: float [S, E].

    Returns:
      float [S]. If all points have the same number of env steps, the result is the first return.
    """
    steps = env_steps[-1] - env_steps[0]
    if steps == 0:
        return returns[:, 0].copy()
    return np.trapezoid(returns, env_steps, axis=1) / steps


def regain_steps(env_steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Counts the env steps until the return stays at or above its first value.

    Args:
      env_steps: int [E], ascending.
      returns: float [S, E].

    Returns:
      float [S], env steps between the first point and the earliest point from which on the return is never
      below its first value. It is 0 if the return never falls below this value. If the last return is below
      this value, the result is the number of env steps up to the last point, a lower bound.
    """
    below = returns < returns[:, :1]
    after = np.where(below.any(axis=1), below.shape[1] - below[:, ::-1].argmax(axis=1), 0)
    return (env_steps - env_steps[0])[np.minimum(after, len(env_steps) - 1)].astype(np.float64)


def late_gain(env_steps: np.ndarray, returns: np.ndarray, share: float = LATE) -> np.ndarray:
    """Computes by how much the return rose over the last part of a run.

    Args:
      env_steps: int [E], ascending.
      returns: float [S, E].
      share: length of the part, as a share of all env steps.

    Returns:
      float [S], mean return over the last ``share`` of the env steps, minus the mean return over the equally
      long part before it. Between two points the return is taken to change linearly. 0 for a fixed policy.
    """
    steps = np.asarray(env_steps, np.float64)
    ends = steps[-1] - share * (steps[-1] - steps[0]) * np.array([2.0, 1.0, 0.0])
    grid = np.unique(np.concatenate([steps, ends]))
    curves = np.stack([np.interp(grid, steps, row) for row in np.asarray(returns, np.float64)])

    def mean_over(first: float, last: float) -> np.ndarray:
        within = (grid >= first) & (grid <= last)
        return auc_return(grid[within], curves[:, within])

    return mean_over(ends[1], ends[2]) - mean_over(ends[0], ends[1])


def curve_metrics(env_steps: np.ndarray, curves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Computes all metrics of one agent in one world.

    Args:
      env_steps: int [E], ascending, number of env steps before each evaluation, summed over the B users.
      curves: a float array [S, E] for each name in ``CURVES``; other names are ignored.

    Returns:
      A float64 array [S] for each name in ``METRICS``.

    Raises:
      ValueError: a curve is missing or has a wrong shape, or ``env_steps`` is not ascending.
    """
    env_steps = np.asarray(env_steps)
    if env_steps.ndim != 1 or not len(env_steps) or (np.diff(env_steps) < 0).any():
        raise ValueError("env_steps must be an ascending list of at least one evaluation point")
    checked = {}
    for name in CURVES:
        if name not in curves:
            raise ValueError(f"curve {name!r} is missing")
        checked[name] = np.asarray(curves[name], np.float64)
    shapes = {curve.shape for curve in checked.values()}
    shape = checked["return"].shape
    if len(shapes) > 1 or len(shape) != 2 or shape[0] == 0 or shape[1] != len(env_steps):
        raise ValueError(f"curves of shapes {sorted(shapes)} do not fit {len(env_steps)} evaluation points")
    returns = checked["return"]
    return {
        "initial_return": returns[:, 0],
        "final_return": returns[:, -1],
        "final_length": checked["length"][:, -1],
        "worst_drop": worst_drop(returns),
        "auc_return": auc_return(env_steps, returns),
        "regain_steps": regain_steps(env_steps, returns),
        **{name: checked[name][:, -1] for name in CURVES[2:]},
    }

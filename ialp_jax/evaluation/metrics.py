"""Numbers that summarise a learning curve, one per seed. Pure numpy."""

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
CURVES = ("return", "length", "reward_per_step", "coverage", "category_entropy", "gini")
SEGMENT_CURVES = ("return/", "length/")  # before a segment's name: "return/patient_niche"


def worst_drop(returns: np.ndarray) -> np.ndarray:
    """Largest fall of the return below its first value.

    Args:
      returns: float [S, E], mean return at each evaluation point.

    Returns:
      float [S], ``max_e(returns[:, 0] - returns[:, e])``; at least 0, because e = 0 is one of the points.
    """
    return (returns[:, :1] - returns).max(axis=1)


def auc_return(env_steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Area under the curve by the trapezoid rule, divided by the steps: a mean return over training.

    Args:
      env_steps: int [E], ascending.
      returns: float [S, E].

    Returns:
      float [S]. The first return if there is only one point, or no step between the points.
    """
    steps = env_steps[-1] - env_steps[0]
    if steps == 0:
        return returns[:, 0].copy()
    return np.trapezoid(returns, env_steps, axis=1) / steps


def regain_steps(env_steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Steps until the return stays at or above its first value.

    Args:
      env_steps: int [E], ascending.
      returns: float [S, E].

    Returns:
      float [S], env steps from the first point to the first one after which the return is never below its
      first value; 0 if it never is. A curve that ends below counts as regained at its last point, so its
      number is a lower bound.
    """
    below = returns < returns[:, :1]
    after = np.where(below.any(axis=1), below.shape[1] - below[:, ::-1].argmax(axis=1), 0)
    return (env_steps - env_steps[0])[np.minimum(after, len(env_steps) - 1)].astype(np.float64)


def curve_metrics(env_steps: np.ndarray, curves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All metrics of one agent in one world.

    Args:
      env_steps: int [E], ascending: steps of all B users together before each evaluation.
      curves: for each name in ``CURVES`` a float array [S, E]; other names are ignored.

    Returns:
      For each name in ``METRICS`` a float64 array [S].

    Raises:
      ValueError: a curve is missing or has another shape, or env_steps do not ascend.
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

"""Makes artificial results of a study: pairs of world and method, and result files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.reporting.report import curves_table
from experiments.reporting.run_results import AgentCurves
from experiments.study.study_results import Pair
from ialp_jax import store
from ialp_jax.evaluation.metrics import CURVES, curve_metrics

STEPS = np.array([0, 1, 2, 3, 5, 7, 10, 15, 20, *range(40, 201, 20)]) * 1000
FROZEN = ("random", "popular", "oracle", "sasrec", "ialp")
ENDS = {  # agent -> (return at the first evaluation point, return at the last)
    "random": (0.2, 0.2),
    "popular": (7.2, 7.2),
    "oracle": (30.2, 30.2),
    "sasrec": (13.0, 13.0),
    "dqn": (0.3, 8.0),
    "pg": (0.2, 5.5),
    "a2c": (0.2, 5.7),
    "a2c_warm": (4.0, 12.0),
    "ialp": (10.0, 10.0),
    "a_ialp_ft": (10.0, 13.5),
    "a_ialp_ap": (10.0, 15.6),
}


def pair(
    first: float, last: float, seeds: int = 6, dip: float = 0.0, noise: float = 0.05, points=STEPS
) -> Pair:
    """Makes rising curves. The return is lower by ``dip`` at 5,000 steps."""
    draw = np.random.default_rng(round(100 * (first + last + dip)))
    rise = np.minimum(points / 100_000, 1)
    clean = first + (last - first) * rise - dip * (points == 5000)
    returns = clean + noise * draw.normal(size=(seeds, len(points)))
    curves = {name: returns + number for number, name in enumerate(CURVES)}
    curves |= {"return/niche": returns - 1, "return/mainstream": returns + 1}
    return Pair(points, curves, curve_metrics(points, curves) | {"final_return/niche": returns[:, -1] - 1})


def world(**changed: Pair) -> dict[str, Pair]:
    """Makes pairs for all methods of `ENDS`. Only the curve of a_ialp_ft has a dip, of 2."""
    pairs = {}
    for agent, ends in ENDS.items():
        points = STEPS[[0, -1]] if agent in FROZEN else STEPS
        pairs[agent] = pair(*ends, dip=2.0 * (agent == "a_ialp_ft"), points=points)
    return pairs | changed


def write_results(folder: Path, worlds: dict[str, dict[str, Pair]], tuned: tuple[str, ...] = ()) -> None:
    """Writes ``config.json`` and ``curves.csv`` as `study_results.collect` does."""
    rows = []
    for name, pairs in worlds.items():
        agents = {
            agent: AgentCurves(one.env_steps, one.curves, one.metrics, {}) for agent, one in pairs.items()
        }
        rows.append(curves_table(name, agents).to_csv(index=False, header=not rows))
    store.write_text(folder / "curves.csv", "".join(rows))
    records = {
        name: {agent: {"key": "k", "tuned": {"x": 1} if agent in tuned else None} for agent in pairs}
        for name, pairs in worlds.items()
    }
    store.write_json(folder / "config.json", {"study": {}, "worlds": {}, "pairs": records})

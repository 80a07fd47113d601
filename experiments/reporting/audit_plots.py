"""Plots of the audit as SVG text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.reporting.plots import panel
from experiments.reporting.styles import ink

NAMES = {
    "llm": "LLM",
    "shuffled": "LLM, shuffled",
    "popularity": "popularity",
    "truth": "truth",
    "chance": "chance",
}
COLOURS = {
    "llm": "#d55e00",
    "shuffled": "#e69f00",
    "popularity": "#0072b2",
    "truth": "#1a1a1a",
    "chance": "#8a8a8a",
}


def auc_by_source(rows: Mapping[str, tuple[float, float, float]]) -> str:
    """Plots the AUC of each source, given as (value, low, high), and a line at chance."""
    with panel("AUC on held-out items") as (axes, out):
        for y, (source, (value, low, high)) in enumerate(reversed(rows.items())):
            colour = COLOURS[source]
            axes.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot(value, y, "o", color=colour, markersize=6)
            axes.annotate(
                f"{NAMES[source]} {value:.3f}",
                (value, y),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                color=ink(colour),
            )
        axes.axvline(0.5, color=COLOURS["chance"], linestyle="--", linewidth=1)
        ends = np.array([*rows.values(), (0.5, 0.5, 0.5)])
        margin = 0.15 * max(np.nanmax(ends) - np.nanmin(ends), 0.05)
        axes.set_xlim(np.nanmin(ends) - margin, np.nanmax(ends) + margin)
        axes.set_ylim(-0.5, len(rows) - 0.3)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("AUC (dashed: chance)")
    return out[0]


def calibration_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Plots the share of hits against the mean confidence in the best candidate.

    Args:
      curves: source -> confidence and share of hits, float [bins] each.
    """
    with panel("Calibration of the best candidate") as (axes, out):
        top = 1.08 * max(max(map(np.max, curve)) for curve in curves.values())
        top = max(top, 1e-3)
        axes.plot([0, top], [0, top], color="#8a8a8a", linestyle="--", linewidth=1)
        for source, (confidence, hit) in curves.items():
            axes.plot(
                confidence, hit, "o-", color=COLOURS[source], markersize=4, linewidth=1.2, label=NAMES[source]
            )
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_xlabel("softmax of the best candidate's score")
        axes.set_ylabel("share of questions with this item taken")
        axes.legend(frameon=False)
    return out[0]

"""Figures of a study: one per world, as in the paper, and one over all worlds."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.plots import SETTINGS, Curve, draw_curves, early_limit
from experiments.reporting.styles import ordered, style
from experiments.study.study_results import Pair
from ialp_jax.evaluation import statistics

_PANEL, _HEIGHT = 5.6, 4.4  # Width and height of a panel, in inches.
LEVELS = np.linspace(0, 1, 101)  # Normalised returns at which the performance profile is drawn.


def svg(figure: Figure) -> str:
    """The figure as SVG text; the same data give the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    width = count * _PANEL
    figure = Figure(figsize=(width, _HEIGHT))
    boxes = [((n * _PANEL + 0.75) / width, 0.13, (_PANEL - 1.0) / width, 0.77) for n in range(count)]
    return figure, [figure.add_axes(box) for box in boxes]


def world_figure(world: str, pairs: Mapping[str, Pair]) -> Figure:
    """Plots return, early return and session length against env steps, with 95 % intervals over seeds."""
    bands = {
        metric: {
            agent: Curve(pair.env_steps, statistics.estimate(pair.curves[metric]))
            for agent, pair in pairs.items()
        }
        for metric in ("return", "length")
    }
    longest = max((pair.env_steps for pair in pairs.values()), key=len)
    limit = early_limit(longest)
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _panels(3)
        draw_curves(axes[0], bands["return"], "return (likes per session)")
        draw_curves(axes[1], bands["return"], "return (likes per session)", limit)
        draw_curves(axes[2], bands["length"], "length (steps per session)")
        titles = (f"{world}: return", f"{world}: return, the first {limit:,} steps", f"{world}: length")
        for panel, title in zip(axes, titles, strict=True):
            panel.set_title(title, color="#222222")
    return figure


def across_figure(across: pd.DataFrame, scores: Mapping[str, np.ndarray], other: str) -> Figure:
    """Plots IQMs, performance profiles and probabilities of improvement over one agent, in all worlds.

    Args:
      across: the rows of ``across.csv``.
      scores: agent id -> normalised final returns [S, W].
      other: id of the agent that the others are compared with.
    """
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _panels(3)
        for panel, statistic, title in (
            (axes[0], "iqm", "Normalised final return, IQM"),
            (
                axes[2],
                "probability_of_improvement",
                f"Probability of a final return above {style(other).name}",
            ),
        ):
            rows = across[(across.metric == "final_return") & (across.statistic == statistic)]
            _bars(panel, rows.set_index("agent"))
            panel.set_title(title, color="#222222")
        axes[0].set_xlabel("random 0, oracle 1")
        axes[2].axvline(0.5, color="#8a8a8a", linestyle="--", linewidth=1)
        axes[2].set_xlim(0, 1)
        _profiles(axes[1], scores)
        axes[1].set_title("Performance profile", color="#222222")
    return figure


def _bars(axes: Axes, rows: pd.DataFrame) -> None:
    """Draws a horizontal bar with its interval for each agent."""
    agents = ordered(rows.index)[::-1]
    rows = rows.loc[agents]
    colours = [style(agent).colour for agent in agents]
    axes.barh(range(len(agents)), rows.value, color=colours, height=0.62, alpha=0.85)
    for y, (low, high) in enumerate(zip(rows.ci_low, rows.ci_high, strict=True)):
        axes.plot([low, high], [y, y], color="#1a1a1a", linewidth=1.2)
    axes.set_yticks(range(len(agents)), [style(agent).name for agent in agents])
    axes.grid(visible=False, axis="y")
    box = axes.get_position()
    shift = 0.5 / axes.figure.get_figwidth()  # room for the names
    axes.set_position((box.x0 + shift, box.y0, box.width - shift, box.height))


def _profiles(axes: Axes, scores: Mapping[str, np.ndarray]) -> None:
    """Draws a line for each agent except random and oracle, which define the scale.

    If two agents have the same colour, the second line is dashed.
    """
    used_colours = set()
    for agent in ordered(scores.keys() - {"random", "oracle"}):
        point, low, high = statistics.performance_profile(scores[agent], LEVELS)
        name, _, colour = style(agent)
        axes.plot(
            LEVELS, point, "--" if colour in used_colours else "-", color=colour, linewidth=1.6, label=name
        )
        used_colours.add(colour)
        if np.isfinite(low).all():
            axes.fill_between(LEVELS, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xlabel("normalised final return")
    axes.set_ylabel("share of runs above")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.02, 1.02)
    box = axes.get_position()
    room = 1.15 / axes.figure.get_figwidth()
    axes.set_position((box.x0, box.y0, box.width - room, box.height))
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.02))

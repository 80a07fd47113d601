"""Plots of the report as SVG text. Each line has its name beside it, so readers do not depend on colours."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter
from scipy.optimize import isotonic_regression

from experiments.reporting.styles import Style, ink, ordered, style
from experiments.reporting.ticks import Shares
from ialp_jax.evaluation.statistics import Estimate

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Liberation Sans", "Arial", "Helvetica", "DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,  # a name may contain a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "ialp_jax",  # so that the same data give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": "#333333",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#ececec",
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
_WIDTH, NARROW, _HEIGHT = 5.0, 4.2, 3.5  # Widths and height of a plot, in inches.
_MARGIN = 0.2  # Space at the right of the axes, in inches.
_LABEL_SIZE = 8.5


class Curve(NamedTuple):
    """Mean over seeds at E evaluation points.

    Attributes:
      env_steps: int [E].
      estimate: mean and interval, [E] each.
    """

    env_steps: np.ndarray
    estimate: Estimate


def spread(positions: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Moves label positions as little as possible (least squares) until they are at least ``gap`` apart.

    Args:
      positions: float [C].
      gap: smallest distance between two labels.
      low: lower end of the space for labels.
      high: upper end of the space; labels go beyond this end if the space is too small.

    Returns:
      float [C], in the order of ``positions``.
    """
    order = np.argsort(positions, kind="stable")
    offsets = gap * np.arange(len(positions))
    packed = isotonic_regression(positions[order] - offsets).x
    moved = np.empty(len(positions))
    moved[order] = np.clip(packed, low, max(low, high - offsets[-1])) + offsets
    return moved


@contextmanager
def panel(title: str, width: float = _WIDTH) -> Iterator[tuple[Axes, list[str]]]:
    """Yields axes and an empty list; on exit, appends the SVG text to the list."""
    out: list[str] = []
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, _HEIGHT))
        axes = figure.add_axes((0.8 / width, 0.17, 1 - (0.8 + _MARGIN) / width, 0.73))
        axes.set_title(title, color="#222222")
        yield axes, out
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        out.append(buffer.getvalue())


def _band(axes: Axes, x: np.ndarray, estimate: Estimate, colour: str, **line: object) -> None:
    axes.plot(x, estimate.point, color=colour, **line)
    if np.isfinite(estimate.low).any():
        axes.fill_between(x, estimate.low, estimate.high, color=colour, alpha=0.16, linewidth=0)


def _name_lines(axes: Axes, ends: Mapping[str, float], look: Callable[[str], Style]) -> None:
    """Writes each agent's name at the right end of its line; adds an arrow if the end is outside the axes."""
    if not ends:
        return
    figure = axes.figure
    names = {agent: look(agent).name for agent in ends}
    low, high = axes.get_ylim()
    for agent, end in ends.items():
        if not low <= end <= high:
            names[agent] += f" {'↑' if end > high else '↓'} {end:.1f}"
    box = axes.get_position()
    right = box.x1 + _MARGIN / figure.get_figwidth()
    room = (0.58 * _LABEL_SIZE * max(map(len, names.values())) + 16) / 72 / figure.get_figwidth()
    axes.set_position((box.x0, box.y0, right - room - box.x0, box.height))
    points = box.height * figure.get_figheight() * 72
    line_ends = np.clip((np.array(list(ends.values())) - low) / (high - low), 0, 1)
    label_heights = spread(line_ends, (_LABEL_SIZE + 2) / points, 0.0, 1.0)
    for agent, end, y in zip(ends, line_ends, label_heights, strict=True):
        axes.annotate(
            names[agent],
            xy=(1, end),
            xytext=(1 + 14 / 72 / figure.get_figwidth() / (right - room - box.x0), y),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=_LABEL_SIZE,
            color=ink(look(agent).colour),
            arrowprops={"arrowstyle": "-", "color": "#c4c4c4", "lw": 0.6, "shrinkA": 1, "shrinkB": 1},
        )


def early_limit(steps: np.ndarray) -> int:
    """Last env step of the early phase.

    The phase is a tenth of all steps, but at most 20,000 steps. It never ends before the third point.
    """
    limit = min(steps[-1] // 10, 20_000)
    return int(max(limit, steps[min(2, len(steps) - 1)]))


def learning_curves(
    curves: Mapping[str, Curve],
    title: str,
    ylabel: str,
    limit: int | None = None,
    look: Callable[[str], Style] = style,
) -> str:
    """Plots the mean of each agent, with its 95 % band, against env steps.

    An agent with at most two points is a fixed policy and gets a dashed line.

    Args:
      curves: agent id -> curve.
      title: title of the plot.
      ylabel: label of the y axis.
      limit: last env step of the plot; the y axis then fits the learning agents. None: all steps are shown.
      look: function that returns the name and colour of a line; the default expects ids of agents.

    Returns:
      SVG text.
    """
    with panel(title) as (axes, out):
        draw_curves(axes, curves, ylabel, limit, look)
    return out[0]


def draw_curves(
    axes: Axes,
    curves: Mapping[str, Curve],
    ylabel: str,
    limit: int | None = None,
    look: Callable[[str], Style] = style,
) -> None:
    """Draws `learning_curves` on given axes; the names of the lines need space at the right of the axes."""
    last = limit or max(int(curve.env_steps[-1]) for curve in curves.values())
    ends, shown = {}, []
    for agent in ordered(curves):
        steps, estimate = curves[agent]
        colour = look(agent).colour
        if len(steps) <= 2:
            ends[agent] = float(estimate.point[-1])
            axes.axhline(ends[agent], color=colour, linestyle=(0, (5, 3)), linewidth=1.1, zorder=1.5)
            continue
        ends[agent] = float(np.interp(last, steps, estimate.point))
        marks = "o" if limit else None
        _band(axes, steps, estimate, colour, linewidth=1.7, marker=marks, markersize=3)
        inside = steps <= last
        shown += [*np.concatenate([np.asarray(part)[inside] for part in estimate]), ends[agent]]
    shown = np.array(shown)[np.isfinite(shown)] if limit else np.array([])
    if len(shown):
        margin = 0.08 * (np.ptp(shown) or 1.0)
        axes.set_ylim(shown.min() - margin, shown.max() + margin)
    axes.set_xlim(0, last or 1)
    axes.set_xlabel("env steps (all users)")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _name_lines(axes, {agent: end for agent, end in ends.items() if np.isfinite(end)}, look)


def pretraining(curves: Mapping[str, tuple[np.ndarray, Estimate]]) -> str:
    """Plots the return on tuning users during pre-training; returns SVG text.

    Args:
      curves: agent id -> updates [E] and estimate at E evaluations.
    """
    with panel("Return on tuning users during pre-training") as (axes, out):
        for name, (updates, estimate) in curves.items():
            _band(axes, updates, estimate, style(name).colour, linewidth=1.7, marker="o", markersize=3)
        axes.set_xlabel("updates")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylabel("return")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        ends = {name: float(estimate.point[-1]) for name, (_, estimate) in curves.items()}
        _name_lines(axes, ends, style)
    return out[0]


def lora(steps: np.ndarray, loss: np.ndarray) -> str:
    """Plots the mean training loss of the fine-tuning at E steps; returns SVG text."""
    with panel("Training loss of the fine-tuning") as (axes, out):
        axes.plot(steps, loss, color="#0072b2", linewidth=1.7)
        axes.set_xlabel("steps")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylabel("nats per prompt")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return out[0]


def none_share(rounds: np.ndarray, share: np.ndarray) -> str:
    """Plots the share of prompts with the label "none" in each round; returns SVG text."""
    with panel("Share of “none” labels in each round") as (axes, out):
        axes.bar(rounds, share, color="#0072b2", width=0.7)
        axes.set_xlabel("round")
        axes.set_ylabel("share of prompts")
        axes.yaxis.set_major_formatter(Shares())
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(visible=False, axis="x")
    return out[0]


def label_rounds(rounds: np.ndarray, lines: Mapping[str, np.ndarray], look: Callable[[str], Style]) -> str:
    """Plots shares and probabilities [R] in each label round; NaN leaves a gap. Returns SVG text.

    Args:
      rounds: int [R].
      lines: values by name.
      look: function that returns the name and colour of a line.
    """
    with panel("Real likes, and true like probabilities") as (axes, out):
        for name, values in lines.items():
            axes.plot(rounds, values, color=look(name).colour, linewidth=1.7, marker="o", markersize=3)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("round")
        axes.set_ylabel("share or probability")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ends = {name: float(values[-1]) for name, values in lines.items() if np.isfinite(values[-1])}
        _name_lines(axes, ends, look)
    return out[0]


def reliability(
    predicted: np.ndarray,
    observed: np.ndarray,
    count: np.ndarray,
    title: str = "Calibration on held-out interactions",
) -> str:
    """Plots observed like rates against predicted probabilities of non-empty bins [C]; returns SVG text."""
    filled = count > 0
    predicted, observed = predicted[filled], observed[filled]
    with panel(title, NARROW) as (axes, out):
        top = 1.05 * max(predicted.max(initial=0.0), observed.max(initial=0.0), 1e-3)
        axes.plot([0, top], [0, top], color="#8a8a8a", linestyle="--", linewidth=1)
        axes.annotate("perfect", (top, top), ha="right", va="bottom", color="#6b6b6b", fontsize=_LABEL_SIZE)
        axes.plot(predicted, observed, color="#0072b2", linewidth=1, alpha=0.6)
        axes.scatter(predicted, observed, s=22, color="#0072b2")
        axes.set_xlabel("predicted probability of a like")
        axes.set_ylabel("observed share of likes")
    return out[0]


def _real_and_simulated(axes: Axes, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    for (name, (x, y)), colour, dash in zip(lines.items(), ("#1a1a1a", "#d55e00"), ("-", "--"), strict=True):
        axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.7, label=name)
    axes.legend(frameon=False)


def popularity(real: np.ndarray, simulated: np.ndarray) -> str:
    """Plots each item's share of all likes against the item's rank, on log axes; returns SVG text.

    Args:
      real: [N], likes of each item in the logs.
      simulated: [N], likes of each item by simulated users.
    """
    lines = {}
    for name, likes in (("real", real), ("simulated", simulated)):
        ranked = np.sort(likes)[::-1] / max(likes.sum(), 1e-12)
        lines[name] = (np.arange(1, len(ranked) + 1)[ranked > 0], ranked[ranked > 0])
    with panel("Popularity of items", NARROW) as (axes, out):
        _real_and_simulated(axes, lines)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rank of the item by likes")
        axes.set_ylabel("share of all likes")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return out[0]


def user_likes(real: np.ndarray, simulated: np.ndarray) -> str:
    """Plots the cumulative distribution of likes per user; returns SVG text.

    Args:
      real: [U], likes of each user in the logs.
      simulated: [U], likes of each simulated user.
    """
    lines = {
        name: (np.sort(likes), np.arange(1, len(likes) + 1) / max(len(likes), 1))
        for name, likes in (("real", real), ("simulated", simulated))
    }
    with panel("Likes per user", NARROW) as (axes, out):
        _real_and_simulated(axes, lines)
        axes.set_xlim(0, max(np.quantile(both, 0.995) for both in (real, simulated)) * 1.05 or 1)
        axes.set_xlabel("likes")
        axes.set_ylabel("share of users with at most so many likes")
        axes.yaxis.set_major_formatter(Shares())
    return out[0]

"""Figures of the report as SVG text. Lines bear their names: colour is not all that tells them apart."""

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
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "ialp_jax",  # the same data give the same file
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
_WIDTH, NARROW, _HEIGHT = 5.0, 4.2, 3.5  # inches
_MARGIN = 0.2  # inches to the right of axes
_LABEL_SIZE = 8.5


class Curve(NamedTuple):
    """Mean over seeds at E evaluation points.

    Attributes:
      env_steps: int [E].
      estimate: mean and interval, each [E].
    """

    env_steps: np.ndarray
    estimate: Estimate


def spread(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move label positions as little as possible (least squares) until they are ``gap`` apart.

    Args:
      wanted: float [C].
      gap: smallest distance between two labels.
      low: lower end of the room for labels.
      high: upper end; where the room is too small, labels run past it.

    Returns:
      float [C], in the order of ``wanted``.
    """
    order = np.argsort(wanted, kind="stable")
    offsets = gap * np.arange(len(wanted))
    packed = isotonic_regression(wanted[order] - offsets).x
    placed = np.empty(len(wanted))
    placed[order] = np.clip(packed, low, max(low, high - offsets[-1])) + offsets
    return placed


@contextmanager
def panel(title: str, width: float = _WIDTH) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, and a list that receives the SVG text afterwards."""
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
    """Write each agent's name to the right of its line's end; one outside the axes gets an arrow."""
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
    at = np.clip((np.array(list(ends.values())) - low) / (high - low), 0, 1)
    placed = spread(at, (_LABEL_SIZE + 2) / points, 0.0, 1.0)
    for agent, end, y in zip(ends, at, placed, strict=True):
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
    """Where the zoom on the early phase ends: a tenth of the steps, at most 20,000, at least 3 points."""
    limit = min(steps[-1] // 10, 20_000)
    return int(max(limit, steps[min(2, len(steps) - 1)]))


def learning_curves(
    curves: Mapping[str, Curve],
    title: str,
    ylabel: str,
    limit: int | None = None,
    look: Callable[[str], Style] = style,
) -> str:
    """Mean with 95 % band per agent over env steps; agents with two points or fewer as dashed lines.

    Args:
      curves: by agent id.
      title: above the axes.
      ylabel: what is drawn.
      limit: last env step shown; the y axis then fits the learning agents. None shows everything.
      look: how a line is named and coloured, where the lines are no agents.

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
    """The drawing of `learning_curves` on axes that are there; the names need room to the axes' right."""
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
    """Return on tuning users during pre-training; SVG text.

    Args:
      curves: source -> updates [E] and estimate over E evaluations.
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
    """Mean training loss of the fine-tuning at each of E steps; SVG text."""
    with panel("Loss of the fine-tuning") as (axes, out):
        axes.plot(steps, loss, color="#0072b2", linewidth=1.7)
        axes.set_xlabel("steps")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylabel("nats per prompt")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return out[0]


def none_share(rounds: np.ndarray, share: np.ndarray) -> str:
    """Share of prompts answered ``none`` in each label round; SVG text."""
    with panel("Share of “none” by label round") as (axes, out):
        axes.bar(rounds, share, color="#0072b2", width=0.7)
        axes.set_xlabel("round")
        axes.set_ylabel("share of prompts")
        axes.yaxis.set_major_formatter(Shares())
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(visible=False, axis="x")
    return out[0]


def reliability(predicted: np.ndarray, observed: np.ndarray, count: np.ndarray) -> str:
    """Observed like rate over predicted probability, one dot per bin [C] that holds anything; SVG text."""
    filled = count > 0
    predicted, observed = predicted[filled], observed[filled]
    with panel("Calibration on held-out interactions", NARROW) as (axes, out):
        top = 1.05 * max(predicted.max(initial=0.0), observed.max(initial=0.0), 1e-3)
        axes.plot([0, top], [0, top], color="#8a8a8a", linestyle="--", linewidth=1)
        axes.annotate("perfect", (top, top), ha="right", va="bottom", color="#6b6b6b", fontsize=_LABEL_SIZE)
        axes.plot(predicted, observed, color="#0072b2", linewidth=1, alpha=0.6)
        axes.scatter(predicted, observed, s=22, color="#0072b2")
        axes.set_xlabel("predicted probability of a like ")
        axes.set_ylabel("observed share of likes")
    return out[0]


def _real_and_simulated(axes: Axes, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    for (name, (x, y)), colour, dash in zip(lines.items(), ("#1a1a1a", "#d55e00"), ("-", "--"), strict=True):
        axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.7, label=name)
    axes.legend(frameon=False)


def popularity(real: np.ndarray, simulated: np.ndarray) -> str:
    """Each item's share of all likes, most liked first, on log axes; arrays [N]; SVG text."""
    lines = {}
    for name, likes in (("real", real), ("simulated", simulated)):
        ranked = np.sort(likes)[::-1] / max(likes.sum(), 1e-12)
        lines[name] = (np.arange(1, len(ranked) + 1)[ranked > 0], ranked[ranked > 0])
    with panel("Long tail of popularity", NARROW) as (axes, out):
        _real_and_simulated(axes, lines)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("item's rank by likes")
        axes.set_ylabel("share of all likes")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return out[0]


def user_likes(real: np.ndarray, simulated: np.ndarray) -> str:
    """Share of users with at most so many likes; arrays [U]; SVG text."""
    lines = {
        name: (np.sort(likes), np.arange(1, len(likes) + 1) / max(len(likes), 1))
        for name, likes in (("real", real), ("simulated", simulated))
    }
    with panel("Likes per user", NARROW) as (axes, out):
        _real_and_simulated(axes, lines)
        axes.set_xlim(0, max(np.quantile(both, 0.995) for both in (real, simulated)) * 1.05 or 1)
        axes.set_xlabel("likes")
        axes.set_ylabel("users with at most so many")
        axes.yaxis.set_major_formatter(Shares())
    return out[0]

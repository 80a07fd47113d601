"""The page's table and plot about label rounds: how far imagined sessions are from people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.reporting import plots
from experiments.reporting.styles import Style

_SHARE, _CHANCE = "{:.1%}".format, "{:.2f}".format
COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {  # fact of `drift.by_round` -> heading, format
    "real_likes": ("real likes", _SHARE),
    "prompts_without_real_likes": ("prompts without real likes", _SHARE),
    "none": ("none", _SHARE),
    "invalid": ("invalid", _SHARE),
    "age": ("session age", "{:.1f}".format),
    "chosen_like_probability": ("chosen item", _CHANCE),
    "mean_like_probability": ("candidates", _CHANCE),
    "best_like_probability": ("best candidate", _CHANCE),
    "rank_correlation": ("rank correlation", _CHANCE),
}
_LINES = {  # fact -> name and colour of its line
    "real_likes": Style("real likes", "", "#d55e00"),
    "chosen_like_probability": Style("chosen item", "", "#0072b2"),
    "mean_like_probability": Style("candidates", "", "#8a8a8a"),
    "best_like_probability": Style("best candidate", "", "#009e73"),
}


def rounds_table(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Headings and rows of the table; None if an earlier version made the labels."""
    if not manifest.get("rounds"):
        return None
    rows = [
        {
            "name": f"round {facts['round']}",
            "cells": ["-" if facts.get(n) is None else write(facts[n]) for n, (_, write) in COLUMNS.items()],
        }
        for facts in manifest["rounds"]
    ]
    return {"headings": [heading for heading, _ in COLUMNS.values()], "rows": rows}


def rounds_figure(manifest: Mapping[str, Any]) -> tuple[str, str] | None:
    """SVG of real likes and like probabilities, and its description; None with fewer than 2 rounds."""
    rounds = manifest.get("rounds") or []
    if len(rounds) < 2:
        return None
    lines = {
        name: np.array([np.nan if facts.get(name) is None else facts[name] for facts in rounds], float)
        for name in _LINES
    }
    svg = plots.label_rounds(np.array([facts["round"] for facts in rounds]), lines, _LINES.__getitem__)
    return svg, "Share of real likes in histories, and true like probabilities, in each label round"

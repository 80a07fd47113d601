"""The page's section about the world: its size, its checks, and results by user segment."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.reporting import plots
from experiments.reporting.run_results import Results
from experiments.reporting.styles import style
from ialp_jax.agents.registry import REFERENCES
from ialp_jax.evaluation.metrics import SEGMENT_CURVES
from ialp_jax.evaluation.sanity import world_checks


def world_facts(facts: dict[str, float]) -> list[tuple[str, str]]:
    """Name and value of each fact in ``worlds.csv``."""
    rows = [(name, f"{facts[name]:,.0f}") for name in ("users", "items", "interactions") if name in facts]
    for name, heading in (("like_rate", "like rate"), ("simulated_like_rate", "simulated like rate")):
        if name in facts:
            rows.append((heading, f"{facts[name]:.2%}"))
    if "density_ratio" in facts:
        rows.append(("simulated likes / logged likes", f"{facts['density_ratio']:.3g}"))
    for name, heading in (("auc", "AUC"), ("ndcg10", "NDCG@10")):
        if name in facts:
            baselines = [
                f"{baseline} {facts[f'{key}_{name}']:.3f}"
                for baseline, key in (("popularity", "popularity"), ("item mean", "item_mean"))
                if not np.isnan(facts.get(f"{key}_{name}", np.nan))
            ]
            compared = f" ({', '.join(baselines)})" if baselines else ""
            rows.append((f"held-out {heading}", f"{facts[name]:.3f}{compared}"))
    if "ece" in facts:
        rows.append(("calibration error", f"{facts['ece']:.4f}"))
    if "test_model_auc" in facts:
        quality = f"AUC {facts['test_model_auc']:.3f}, calibration error {facts['test_model_ece']:.4f}"
        rows.append(("user model of the evaluation world", quality))
    for agent in REFERENCES:
        if f"{agent}_return" in facts:
            low, high = (facts.get(f"{agent}_return_ci_{end}", np.nan) for end in ("low", "high"))
            interval = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
            length = f", length {facts[f'{agent}_length']:.1f}" if f"{agent}_length" in facts else ""
            rows.append((f"return of {agent}", f"{facts[f'{agent}_return']:.2f}{interval}{length}"))
    return rows


def validation_figures(validation: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Figures that compare the user model with the logs, as pairs of SVG text and description."""
    bins = (validation[f"reliability_{kind}"] for kind in ("predicted", "observed", "count"))
    items = (validation[f"popularity_{kind}"] for kind in ("real", "simulated"))
    users = (validation[f"likes_{kind}"] for kind in ("real", "simulated"))
    return [
        (plots.reliability(*bins), "Observed share of likes over predicted probability"),
        (plots.popularity(*items), "Popularity of items, real and simulated"),
        (plots.user_likes(*users), "Likes per user, real and simulated"),
    ]


def segment_table(results: Results) -> dict[str, Any] | None:
    """Final return of each agent by user segment; None if the world has no segments."""
    prefix = SEGMENT_CURVES[0]
    names = sorted(
        {name for agent in results.agents.values() for name in agent.curves if name.startswith(prefix)}
    )
    if not names:
        return None
    rows = []
    for agent, result in results.agents.items():
        finals = [result.curves[name][:, -1] if name in result.curves else [np.nan] for name in names]
        rows.append(
            {
                "name": style(agent).name,
                "cells": ["-" if np.isnan(final).any() else f"{np.mean(final):.2f}" for final in finals],
            }
        )
    return {"headings": [name.removeprefix(prefix).replace("_", ", ") for name in names], "rows": rows}


def world_section(results: Results) -> dict[str, Any]:
    """The values for the template's section about the world."""
    facts = dict(zip(results.worlds["metric"], results.worlds["value"], strict=True))
    fitted = results.config.get("simulator", {}).get("user_model", {})  # of another version: empty
    return {
        "facts": world_facts(facts),
        "fitted": fitted.get("family") != "truth",
        "checks": world_checks(facts),
        "figures": validation_figures(results.validation),
        "segments": segment_table(results),
    }

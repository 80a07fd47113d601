"""The page's section about offline training: fine-tuning of the LLM and pre-training of policies."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.reporting import plots
from experiments.reporting.run_results import Results
from experiments.reporting.styles import style
from experiments.run import TEMPERATURE
from ialp_jax.evaluation import statistics


def pretraining_figure(results: Results) -> tuple[str, str, str] | None:
    """SVG of the pre-training curves, its description and a note; None without pre-training."""
    if not results.pretrain:
        return None
    curves = {
        name: (arrays["updates"], statistics.estimate(arrays["return"]))
        for name, (arrays, _) in results.pretrain.items()
    }
    alt = "Return on tuning users over updates of pre-training"
    return plots.pretraining(curves), alt, f"{_measured(results)} {_temperatures(results)}".strip()


def _measured(results: Results) -> str:
    """Describes how the points of the curves were measured, with the settings in the manifests."""
    names_by_method: dict[str, list[str]] = {}
    for name, (_, manifest) in results.pretrain.items():
        settings = manifest.get("evaluation", {})
        if "episodes" in settings:
            words = f"{settings['episodes']:,} sessions{', greedy' if settings.get('greedy') else ''}"
            names_by_method.setdefault(words, []).append(style(name).name)
    if len(names_by_method) > 1:
        groups = (f"{words} ({', '.join(names)})" for words, names in names_by_method.items())
        return f"Each point is the mean over {'; '.join(groups)}."
    return f"Each point is the mean over {next(iter(names_by_method))}." if names_by_method else ""


def _temperatures(results: Results) -> str:
    """States the temperature of each pre-trained policy, and its return there, if it was measured."""
    texts = []
    for name, (arrays, manifest) in results.pretrain.items():
        if TEMPERATURE not in manifest:
            continue
        text = f"{style(name).name} at {manifest[TEMPERATURE]:g}"
        returns = arrays["temperature_return"].mean(0)[arrays["temperatures"] == manifest[TEMPERATURE]]
        texts.append(text + (f" (return {returns[0]:.2f})" if np.isfinite(returns).all() else ""))
    if not texts:
        return ""
    return f"The curves are at temperature 1. Chosen temperatures, with returns there: {'; '.join(texts)}."


def lora_section(results: Results) -> dict[str, Any] | None:
    """Facts and the loss curve as SVG with its description; None without fine-tuning."""
    if not results.lora:
        return None
    log = results.lora["fine_tuning"]
    held_out = log["held_out"]

    def share(name: str) -> str:
        return "{:.1%} [{:.1%}, {:.1%}]".format(held_out[name], *held_out[f"{name}_interval"])

    facts = [
        ("held-out accuracy before", share("accuracy_before")),
        ("held-out accuracy after", share("accuracy_after")),
        ("gain (paired)", share("gain")),
        ("accuracy by chance", f"{held_out['chance']:.1%}"),
        ("held-out loss", f"{held_out['loss_before']:.3f} before, {held_out['loss_after']:.3f} after"),
        ("held-out prompts", f"{held_out['prompts']:,} of {held_out['users']:,} users"),
        ("steps", f"{log['steps']:,}"),
        ("trained parameters", f"{log['parameters']:,}"),
    ]
    svg = plots.lora(*np.array(log["loss"], np.float64).T)
    return {"facts": facts, "figure": (svg, "Training loss over steps of fine-tuning")}

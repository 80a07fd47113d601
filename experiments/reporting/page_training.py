"""The page's part about offline training: fine-tuning of the LLM, pre-training of policies."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.reporting import plots
from experiments.reporting.run_results import Results
from experiments.reporting.styles import style
from ialp_jax.evaluation import statistics


def pretraining_figure(results: Results) -> tuple[str, str, str] | None:
    """SVG of the pre-training curves, what it shows and a note; None if there was no pre-training."""
    if not results.pretrain:
        return None
    curves = {
        name: (arrays["updates"], statistics.estimate(arrays["return"]))
        for name, (arrays, _) in results.pretrain.items()
    }
    alt = "Return on tuning users over updates of the pre-training"
    return plots.pretraining(curves), alt, _measured(results)


def _measured(results: Results) -> str:
    """How the points of the curves were measured. Later settings of the evaluation do not redo them."""
    told: dict[str, list[str]] = {}
    for name, (_, manifest) in results.pretrain.items():
        how = manifest.get("evaluation", {})
        if "episodes" in how:
            words = f"{how['episodes']:,} sessions{', greedy' if how.get('greedy') else ''}"
            told.setdefault(words, []).append(style(name).name)
    if len(told) > 1:
        return "Each point: " + "; ".join(f"{', '.join(of)} {words}" for words, of in told.items()) + "."
    return f"Each point: {next(iter(told))}." if told else ""


def lora_section(results: Results) -> dict[str, Any] | None:
    """Facts, and loss curve as SVG with what it shows; None if there was no fine-tuning."""
    if not results.lora:
        return None
    log = results.lora["fine_tuning"]
    told = log["held_out"]

    def share(name: str) -> str:
        return "{:.1%} [{:.1%}, {:.1%}]".format(told[name], *told[f"{name}_interval"])

    facts = [
        ("held-out accuracy before", share("accuracy_before")),
        ("held-out accuracy after", share("accuracy_after")),
        ("gain, paired", share("gain")),
        ("by chance", f"{told['chance']:.1%}"),
        ("held-out loss", f"{told['loss_before']:.3f} before, {told['loss_after']:.3f} after"),
        ("held-out prompts", f"{told['prompts']:,} of {told['users']:,} users"),
        ("steps", f"{log['steps']:,}"),
        ("trained parameters", f"{log['parameters']:,}"),
    ]
    svg = plots.lora(*np.array(log["loss"], np.float64).T)
    return {"facts": facts, "figure": (svg, "Training loss over steps of the fine-tuning")}

"""Renders the page ``report/index.html`` from the results of a run and a template."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from experiments.agents import GROUPS, REFERENCE, group_of
from experiments.reporting import audit_page, plots
from experiments.reporting.findings import findings, starts
from experiments.reporting.page_provenance import provenance_section
from experiments.reporting.page_rounds import rounds_figure, rounds_table
from experiments.reporting.page_training import lora_section, pretraining_figure
from experiments.reporting.page_world import world_section
from experiments.reporting.run_results import Results
from experiments.reporting.styles import ordered, style
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.metrics import late_gain
from ialp_jax.labelling import quality

COLUMNS = {  # metric -> heading, format of a value, whether the highest mean is bold
    "initial_return": ("initial return", "{:.2f}".format, True),
    "final_return": ("final return", "{:.2f}".format, True),
    "final_length": ("length", "{:.1f}".format, True),
    "worst_drop": ("worst drop", "{:.2f}".format, False),
    "auc_return": ("area under curve", "{:.2f}".format, True),
    "reward_per_step": ("reward / step", "{:.3f}".format, True),
    "coverage": ("coverage", "{:.1%}".format, False),
}
_SAMPLES = 6  # number of sample prompts


def written(row: Mapping[str, float], write: Callable[[float], str]) -> tuple[str, str]:
    """Formats mean and interval of a summary row; NaN gives a dash, and no interval gives an empty text."""
    interval = "" if np.isnan(row["ci_low"]) else f"[{write(row['ci_low'])}, {write(row['ci_high'])}]"
    return "-" if np.isnan(row["mean"]) else write(row["mean"]), interval


def temperature_of(rows: pd.DataFrame) -> float:
    """The temperature in an agent's rows of a summary; NaN if it starts from scratch or is not recorded."""
    return float(rows["temperature"].iloc[0]) if "temperature" in rows else math.nan


def figure(svg: str, alt: str, note: str = "") -> dict[str, str]:
    """Makes an image that contains the SVG as data, because an image cannot load files or run scripts."""
    data = base64.b64encode(svg.encode()).decode()
    return {"source": f"data:image/svg+xml;base64,{data}", "alt": alt, "note": note}


def _table_groups(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the page's table by group; in each column, the best agent that is not a reference is bold."""
    means = summary.pivot(index="agent", columns="metric", values="mean")
    group_by_agent = {agent: group_of(agent, source) for agent, source in starts(summary).items()}
    candidates = means[[group_by_agent[agent] != REFERENCE for agent in means.index]]
    groups = []
    for group in GROUPS:
        rows = []
        for agent in (agent for agent in ordered(means.index) if group_by_agent[agent] == group):
            by_metric = summary[summary.agent == agent].set_index("metric")
            cells = []
            for metric, (_, write, bold_best) in COLUMNS.items():
                mean, interval = written(by_metric.loc[metric], write)
                best = bold_best and group != REFERENCE and mean == write(candidates[metric].max())
                cells.append({"mean": mean, "interval": interval, "best": best})
            temperature = temperature_of(by_metric)
            note = f"temperature {temperature:g}" if math.isfinite(temperature) else ""
            rows.append(
                {"name": style(agent).name, "note": note, "colour": style(agent).colour, "cells": cells}
            )
        if rows:
            groups.append({"name": group, "rows": rows})
    return groups


def _curve_figures(results: Results) -> list[dict[str, str]]:
    longest = max((agent.env_steps for agent in results.agents.values()), key=len)
    limit = plots.early_limit(longest)
    figures = []
    for metric, unit in (("return", "return (likes per session)"), ("length", "length (steps per session)")):
        curves = {
            agent: plots.Curve(result.env_steps, statistics.estimate(result.curves[metric]))
            for agent, result in results.agents.items()
        }
        title = metric.capitalize()
        figures.append(figure(plots.learning_curves(curves, title, unit), f"{title} over env steps"))
        if limit < longest[-1]:
            title = f"{title}: the first {limit:,} steps"
            figures.append(figure(plots.learning_curves(curves, title, unit, limit), title))
    return figures


def _late_gains(results: Results) -> dict[str, statistics.Estimate]:
    """The late gain of each agent that learns online, see `late_gain`."""
    return {
        agent: statistics.estimate(late_gain(result.env_steps, result.curves["return"]))
        for agent, result in results.agents.items()
        if len(result.env_steps) > 2
    }


def _headline(results: Results, facts: dict[str, float]) -> str:
    """A sentence with the numbers of agents, users, items, seeds and env steps."""
    seeds = sorted({agent.num_seeds for agent in results.agents.values()})
    steps = max(int(agent.env_steps[-1]) for agent in results.agents.values())
    size = " and ".join(f"{facts[name]:,.0f} {name}" for name in ("users", "items") if name in facts)
    runs = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    return (
        f"{len(results.agents)} agents compared in the world “{results.world}”"
        f"{f' ({size})' if size else ''}, with {runs} random seed{'s' if seeds[-1] > 1 else ''}"
        f" and {steps:,} env steps each."
    )


def _samples(arrays: dict[str, np.ndarray], titles: tuple[str, ...]) -> list[dict[str, Any]]:
    """A few prompts with their labels, evenly spaced over the last label round."""
    rounds = arrays.get("round", np.zeros(len(arrays["choice"])))
    last_round = np.flatnonzero(rounds == rounds.max(initial=0))
    spaced = np.unique(np.linspace(0, len(last_round) - 1, _SAMPLES).astype(int))
    chosen = last_round[spaced] if len(last_round) else []

    def title(item: int) -> str:
        return titles[item] if 0 < item < len(titles) else f"item {item}"

    samples = []
    for p in chosen:
        choice = int(arrays["choice"][p])
        scored = zip(arrays["candidates"][p], arrays["scores"][p], strict=True)
        candidates = [
            {"title": title(int(item)), "score": f"{score:.2f}", "chosen": choice == k}
            for k, (item, score) in enumerate(scored, start=1)
        ]
        answer = {-1: "invalid", 0: "none"}.get(choice) or f"{choice}: {candidates[choice - 1]['title']}"
        history = [title(int(item)) for item in arrays["histories"][p] if item]
        samples.append({"history": history, "candidates": candidates, "answer": answer})
    return samples


def _labels(results: Results) -> dict[str, Any] | None:
    """Facts, plot and sample prompts of the label stage; None if the stage was skipped."""
    if results.labels is None:
        return None
    arrays, manifest = results.labels
    counts = manifest.get("counts", {})
    prompts = counts.get("prompts", len(arrays["choice"]))
    facts = [("prompts", f"{prompts:,}")]
    for name in ("valid", "none"):
        if name in counts:
            facts.append((name, f"{counts[name]:,} ({counts[name] / max(prompts, 1):.1%})"))
    invalid = {cause: number for cause, number in counts.get("invalid", {}).items() if number}
    facts.append(("invalid", ", ".join(f"{cause} {number:,}" for cause, number in invalid.items()) or "0"))
    template, training = manifest.get("template", {}), manifest.get("training", {})
    entries = {
        "template": template.get("name") if isinstance(template, dict) else template,
        "template fingerprint": manifest.get("template_sha256", "")[:12],
        "different prompts": manifest.get("asked"),
        "held-out loss of the LLM": training.get("held_out_loss"),
    }
    for name in ("source", "calibration", "model", "revision", "adapter_use", "mode", "threshold", "tokens"):
        entries[name] = manifest.get(name)
    entries["seconds of answering"] = manifest.get("seconds")
    for name, value in entries.items():
        if value not in (None, ""):
            facts.append((name, {float: "{:,.4g}", int: "{:,}"}.get(type(value), "{}").format(value)))
    if manifest.get("seconds"):
        facts.append(("prompts per second", f"{manifest.get('asked', prompts) / manifest['seconds']:,.1f}"))
    facts += quality.bias(manifest) + quality.calibration(manifest)
    facts += [("warning", caution) for caution in quality.cautions(manifest)]
    figures = []
    rounds, index = np.unique(arrays.get("round", np.zeros(0, int)), return_inverse=True)
    if len(rounds) > 1:
        share = np.bincount(index, weights=arrays["choice"] == 0) / np.bincount(index)
        figures.append(figure(plots.none_share(rounds, share), "Share of “none” labels in each label round"))
    if drawn := rounds_figure(manifest):
        figures.append(figure(*drawn))
    figures += _likes(manifest)
    samples = _samples(arrays, results.titles)
    return {"facts": facts, "figures": figures, "rounds": rounds_table(manifest), "samples": samples}


def _likes(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """The reliability of the calibration of likes in the last round; empty if it was not measured."""
    rounds = (manifest.get(quality.LIKES) or {}).get("rounds") or [{}]
    if "reliability" not in rounds[-1]:
        return []
    bins = (np.array(rounds[-1]["reliability"][name]) for name in ("predicted", "observed", "count"))
    note = (
        "Candidates that the actor of the last round proposed for held-out offline users, in bins of equal "
        "size. A like is an item that appears later in the user's log. Cross-validated over users."
    )
    svg = plots.reliability(*bins, "Calibration of likes, last round")
    return [figure(svg, "Observed share of likes over predicted probability", note)]


def _seconds(results: Results) -> list[tuple[str, str]]:
    """Wall-clock seconds of each stage and agent, if its manifest records them.

    The manifests of labels and audit have two durations; the longer one covers the whole stage, which also
    trains and calibrates the LLM.
    """
    manifests = {"fine-tuning": results.lora["fine_tuning"]} if results.lora else {}
    manifests |= {"labels": results.labels[1]} if results.labels else {}
    manifests |= {f"pre-training of {style(n).name}": data[1] for n, data in results.pretrain.items()}
    manifests |= {"audit": results.audit.manifest} if results.audit else {}
    manifests |= {style(agent).name: result.manifest for agent, result in results.agents.items()}
    facts = []
    for name, manifest in manifests.items():
        records = [record for record in (manifest, manifest.get("provenance")) if isinstance(record, dict)]
        seconds = [record["seconds"] for record in records if isinstance(record.get("seconds"), int | float)]
        facts += [(name, f"{max(seconds):,.1f} s")] if seconds else []
    return facts


def _audit(results: Results) -> dict[str, Any] | None:
    if results.audit is None:
        return None
    section = audit_page.section(results.audit, results.titles)
    return section | {"figures": [figure(*svg) for svg in section["figures"]]}


def template(name: str) -> jinja2.Template:
    """Loads a template of this folder; the template escapes every text that comes from data."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(results: Results, summary: pd.DataFrame) -> str:
    """Renders the page.

    Args:
      results: results of a run.
      summary: rows of the run's ``summary.csv``.

    Returns:
      HTML text that loads no other file. Every text that comes from data is escaped.
    """
    facts = dict(zip(results.worlds["metric"], results.worlds["value"], strict=True))
    about, lora, pretrained = world_section(results), lora_section(results), pretraining_figure(results)
    return template("report.html.j2").render(
        name=str(results.config.get("name") or results.world),
        world=results.world,
        headline=_headline(results, facts),
        findings=findings(
            summary,
            results.audit.table if results.audit else None,
            facts,
            results.labels[1].get("counts") if results.labels else None,
            _late_gains(results),
        ),
        one_seed=bool((summary.num_seeds == 1).any()),
        headings=[heading for heading, _, _ in COLUMNS.values()],
        groups=_table_groups(summary),
        curves=_curve_figures(results),
        labels=_labels(results),
        audit=_audit(results),
        lora=lora | {"figure": figure(*lora["figure"])} if lora else None,
        pretraining=figure(*pretrained) if pretrained else None,
        about=about | {"figures": [figure(*svg) for svg in about["figures"]]},
        seconds=_seconds(results),
        provenance=provenance_section(results.provenance),
        config=json.dumps(results.config, indent=2, sort_keys=True, ensure_ascii=False),
    )

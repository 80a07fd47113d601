"""Computes the values for the template ``audit.html.j2``, the page's section about the audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting import audit_plots
from experiments.reporting.audit_plots import NAMES
from experiments.reporting.run_results import AuditResults
from ialp_jax.labelling.audit import CHANCE, LLM, POPULARITY, SHUFFLED, TRUTH, Questions

_SHARE, _DIFFERENCE = "{:.1%}".format, "{:+.3f}".format
METRICS: dict[str, tuple[str, Callable[[float], str]]] = {
    "auc": ("AUC", "{:.3f}".format),
    "auc_minus_popularity": ("AUC - popularity", _DIFFERENCE),
    "auc_minus_shuffled": ("AUC - shuffled", _DIFFERENCE),
    "accuracy": ("accuracy", _SHARE),
    "ndcg": ("NDCG@10", "{:.3f}".format),
    "none_share": ("none", _SHARE),
    "invalid_share": ("invalid", _SHARE),
    "order_bias": ("order bias", _DIFFERENCE),
    "letter_bias": ("letter bias", "{:.3f}".format),
    "popularity_bias": ("popularity bias", "{:+.2f}".format),
    "calibration_error": ("calibration error", "{:.3f}".format),
    "truth_agreement": ("agreement with the truth", "{:.3f}".format),
}
SEGMENTS = {
    "mainstream": "mainstream taste",
    "niche": "niche taste",
    "long": "many known likes",
    "short": "few known likes",
}
_SAMPLES, _SHOWN = 6, 5  # number of sample questions; number of best candidates shown for each question


def _cell(rows: pd.DataFrame, source: str, metric: str, write: Callable[[float], str]) -> dict[str, str]:
    if (source, metric) not in rows.index:
        return {"value": "", "interval": ""}
    row = rows.loc[source, metric]
    has_interval = np.isfinite(row.ci_low) and source != CHANCE
    return {
        "value": write(row.value) if np.isfinite(row.value) else "-",
        "interval": f"[{write(row.ci_low)}, {write(row.ci_high)}]" if has_interval else "",
    }


def _sources(rows: pd.DataFrame) -> dict[str, Any]:
    """The table with a row per metric and a column per source."""
    sources, metrics = (rows.index.get_level_values(name) for name in ("source", "metric"))
    shown = [source for source in NAMES if source in sources]
    return {
        "headings": ["", *(NAMES[source] for source in shown)],
        "rows": [
            {"name": name, "cells": [_cell(rows, source, metric, write) for source in shown]}
            for metric, (name, write) in METRICS.items()
            if metric in metrics
        ],
    }


def _segments(rows: pd.DataFrame) -> dict[str, Any]:
    """The table with a row per group of users."""
    shown = [
        (LLM, "users", "users", "{:,.0f}".format),
        *(
            (source, "auc", f"AUC, {NAMES[source]}", METRICS["auc"][1])
            for source in (LLM, SHUFFLED, POPULARITY)
        ),
        *(
            (LLM, metric, f"LLM: {METRICS[metric][0]}", METRICS[metric][1])
            for metric in METRICS
            if "minus" in metric
        ),
    ]
    return {
        "headings": ["", *(heading for _, _, heading, _ in shown)],
        "rows": [
            {
                "name": name,
                "cells": [_cell(rows, source, f"{m}/{segment}", write) for source, m, _, write in shown],
            }
            for segment, name in SEGMENTS.items()
            if (LLM, f"users/{segment}") in rows.index
        ],
    }


def _verdict(rows: pd.DataFrame) -> str:
    """States the LLM's AUC and compares it with two other sources, in words."""
    comparisons = []
    for other in (POPULARITY, SHUFFLED):
        row = rows.loc[LLM, f"auc_minus_{other}"]
        word = "not clearly different from"
        if row.ci_low > 0 or row.ci_high < 0:
            word = "better than" if row.ci_low > 0 else "worse than"
        name = "popularity" if other == POPULARITY else "the LLM with another user's history"
        interval = f" [{row.ci_low:+.3f}, {row.ci_high:+.3f}]" if np.isfinite(row.ci_low) else ""
        comparisons.append(f"{word} {name} ({row.value:+.3f}{interval})")
    auc = rows.loc[(LLM, "auc")].value
    return (
        f"The LLM ranks the item that the user took above {auc:.1%} of the other candidates. "
        f"It is {comparisons[0]} and {comparisons[1]}."
    )


def _task(questions: Questions) -> str:
    """Describes the kind of question in one sentence."""
    if (questions.relevant.sum(1) > 1).any():
        return "The candidates are random items that the user rated; the user liked the taken ones."
    others = questions.sizes.max() - 1
    return f"Each question mixes one item that the user took with {others} items that the user never took."


def _samples(results: AuditResults, questions: Questions, titles: tuple[str, ...]) -> list[dict[str, Any]]:
    """A few questions, evenly spaced over the users, with the LLM's best candidates and the taken items."""
    samples = []
    for q in np.unique(np.linspace(0, len(questions.user) - 1, _SAMPLES).astype(int)):
        size, choice = questions.sizes[q], int(results.arrays["llm/choice"][q])
        scores = results.arrays["llm/scores"][q, :size]
        order = np.argsort(-scores, kind="stable")
        candidates = [
            {
                "rank": rank,
                "title": titles[questions.candidates[q, k]],
                "score": f"{scores[k]:.2f}",
                "taken": bool(questions.relevant[q, k]),
                "chosen": choice == k + 1,
            }
            for rank, k in enumerate(order, start=1)
            if rank <= _SHOWN or questions.relevant[q, k]
        ]
        answer = {-1: "invalid", 0: "none"}.get(choice, "the shaded candidate")
        history = [titles[item] for item in questions.histories[q] if item]
        samples.append({"history": history, "candidates": candidates, "answer": answer, "size": int(size)})
    return samples


def section(results: AuditResults, titles: tuple[str, ...]) -> dict[str, Any]:
    """The values for the template; each figure is a pair of SVG text and description.

    Args:
      results: results of the audit stage.
      titles: N + 1 titles; the page escapes them.
    """
    rows = results.table.set_index(["source", "metric"])
    questions = Questions(*(results.arrays[name] for name in Questions._fields))
    aucs = {name: rows.loc[name, "auc"] for name in NAMES if name != CHANCE and (name, "auc") in rows.index}
    curves = {
        name: (results.arrays[f"{name}/confidence"], results.arrays[f"{name}/hit"])
        for name in (LLM, SHUFFLED, POPULARITY)
    }
    return {
        "verdict": _verdict(rows),
        "users": f"{len(questions.user):,}",
        "task": _task(questions),
        "truth": TRUTH in aucs,
        "sources": _sources(rows),
        "segments": _segments(rows),
        "figures": [
            (
                audit_plots.auc_by_source({n: (r.value, r.ci_low, r.ci_high) for n, r in aucs.items()}),
                "AUC on held-out items by source, with 95 % intervals",
            ),
            (
                audit_plots.calibration_curves(curves),
                "Share of questions in which the best candidate is the taken item, over its softmax",
            ),
        ],
        "samples": _samples(results, questions, titles),
    }

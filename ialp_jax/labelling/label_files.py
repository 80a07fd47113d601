"""A run's labels on disk: folder names, and checks of arrays and catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax import store
from ialp_jax.data.invariants import integers
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset, Labels

_ANY = np.iinfo(np.int64).max
SHARDS, PLANS = "shards", "plans"  # subfolders of a run's labels: its own store, its plans


def catalogue_facts(dataset: Dataset) -> dict[str, Any]:
    """The facts that identify a catalogue: the world's name, N, sha256 of the titles."""
    titles = dataset.catalogue.titles
    return {"world": dataset.name, "items": len(titles) - 1, "sha256": store.fingerprint(list(titles))}


def check_labels(labels: Path, arrays: Mapping[str, np.ndarray], others: Sequence[str] = ()) -> None:
    """Raises InputError if the arrays do not have the shapes and values of ``Labels``.

    Args:
      labels: folder of the labels, for the error message.
      arrays: histories, candidates, choice and scores of P prompts, and maybe probability.
      others: names of other arrays [P, ...] that must exist.
    """
    names = (*Labels._fields, *others, *(("probability",) if "probability" in arrays else ()))
    wrong = [name for name in names if name not in arrays or arrays[name].ndim < 1]
    if not wrong:
        count, size = len(arrays["choice"]), arrays["candidates"].shape[-1]
        shape = {"candidates": (count, size), "choice": (count,), "scores": (count, size)}
        shape |= {"histories": (count, arrays["histories"].shape[-1]), "probability": (count, size)}
        bounds = {"histories": (0, _ANY), "candidates": (1, _ANY), "choice": (-1, size)}
        wrong = [
            name for name in names if arrays[name].shape != shape.get(name, (count, *arrays[name].shape[1:]))
        ]
        wrong += [name for name, bound in bounds.items() if not integers(arrays[name], shape[name], *bound)]
    if wrong:
        raise InputError(
            f"{labels}: not labels: {wrong[0]} is missing or has a wrong form; run --stage=label again"
        )


def check_catalogue(
    labels: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any], data: Path, dataset: Dataset
) -> None:
    """Raises InputError if labels were made for another catalogue.

    Args:
      labels: folder of the labels, for the error message.
      arrays: ``histories`` int [P, L] and ``candidates`` int [P, K], item ids.
      manifest: manifest of the labels. Only labels of an LLM have the entry ``catalogue``.
      data: folder of the data set, for the error message.
      dataset: data set whose catalogue the labels must match.

    Raises:
      InputError: the titles differ, or an item id does not exist.
    """
    data_catalogue, label_catalogue = catalogue_facts(dataset), manifest.get("catalogue")
    if not isinstance(label_catalogue, dict | None):
        raise InputError(
            f"{labels / store.MANIFEST}: its catalogue is {str(label_catalogue)[:40]!r}; "
            "the label stage did not write it"
        )
    largest = max(int(arrays[name].max(initial=0)) for name in ("histories", "candidates"))
    if label_catalogue is not None and label_catalogue.get("sha256") != data_catalogue["sha256"]:
        problem = f"made for another catalogue, {_words(label_catalogue)}"
    elif largest > data_catalogue["items"]:
        problem = f"about an item {largest}"
    else:
        return
    raise InputError(
        f"{labels}: labels {problem}, but the catalogue of {data} is {_words(data_catalogue)}; "
        "run --stage=label again, or use the data they were made from"
    )


def _words(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('world')} with {facts.get('items'):,} items (sha256 {facts.get('sha256', '')[:8]})"

"""A run's labels belong to a catalogue: what is remembered of it, and the check before labels are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

SHARDS, PLANS = "shards", "plans"  # in the folder of a run's labels: its own store, its plans


def catalogue_facts(dataset: Dataset) -> dict[str, Any]:
    """What tells one catalogue from another: the world's name, N, sha256 of the titles."""
    titles = dataset.catalogue.titles
    return {"world": dataset.name, "items": len(titles) - 1, "sha256": store.digest(list(titles))}


def check_catalogue(
    labels: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any], data: Path, dataset: Dataset
) -> None:
    """Refuses labels that were made for another catalogue.

    Args:
      labels: their folder, named in the message.
      arrays: ``histories`` int [P, L] and ``candidates`` int [P, K], item ids.
      manifest: of the labels; ``catalogue`` is not there where they come from elsewhere.
      data: folder of the data set, named in the message.
      dataset: whose catalogue it must be.

    Raises:
      InputError: the titles differ, or item ids do not exist.
    """
    here, there = catalogue_facts(dataset), manifest.get("catalogue")
    largest = max(int(arrays[name].max(initial=0)) for name in ("histories", "candidates"))
    if there is not None and there.get("sha256") != here["sha256"]:
        found = f"made for another catalogue, {_words(there)}"
    elif largest > here["items"]:
        found = f"about an item {largest}"
    else:
        return
    raise InputError(
        f"{labels}: labels {found}, but the catalogue of {data} is {_words(here)}; "
        "run --stage=label again, or use the data they were made from"
    )


def _words(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('world')} with {facts.get('items'):,} items (sha256 {facts.get('sha256', '')[:8]})"

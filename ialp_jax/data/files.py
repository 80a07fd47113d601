"""Saves and loads a ``Dataset``: arrays.npz, catalogue.json, manifest.json; see ``ialp_jax.store``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax import store
from ialp_jax.data.invariants import broken
from ialp_jax.errors import InputError
from ialp_jax.types import Catalogue, Dataset, Histories, Interactions, UserModel

CATALOGUE = "catalogue.json"
RANDOM_TEST = "random_test_"


def _columns(rows: Interactions, prefix: str = "") -> dict[str, np.ndarray]:
    """Returns the columns of interactions by name, without those that are None."""
    columns = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    return {prefix + name: np.asarray(value) for name, value in columns.items() if value is not None}


def _interactions(arrays: Mapping[str, np.ndarray], prefix: str = "") -> Interactions:
    """Builds interactions from the columns that ``_columns`` returned."""
    names = [field.name for field in dataclasses.fields(Interactions) if prefix + field.name in arrays]
    columns: dict[str, Any] = {name: arrays[prefix + name] for name in names}
    return Interactions(**{**columns, "ordered": bool(columns["ordered"])})


def save_dataset(folder: Path, dataset: Dataset, manifest: Mapping[str, Any]) -> None:
    """Saves a data set; replaces ``folder``. ``manifest`` contains further facts from the data stage."""
    arrays = {
        **_columns(dataset.interactions),
        "category": dataset.catalogue.category,
        "split": dataset.split,
        "history_items": dataset.histories.items,
        "history_offsets": dataset.histories.offsets,
    }
    if dataset.random_test is not None:
        arrays |= _columns(dataset.random_test, RANDOM_TEST)
    if dataset.truth is not None:
        arrays |= {f"truth_{name}": np.asarray(value) for name, value in dataset.truth._asdict().items()}
    words = {
        "name": dataset.name,
        "titles": dataset.catalogue.titles,
        "category_names": dataset.catalogue.category_names,
        "dropped": dataset.dropped,
    }
    if dataset.notes:
        words["notes"] = dataset.notes
    if dataset.catalogue.text is not None:
        words["text"] = dataset.catalogue.text
    with store.replacing(folder) as partial:
        store.write_arrays(partial / "arrays.npz", arrays)
        store.write_json(partial / CATALOGUE, words)
        store.seal(partial, manifest)


def load_dataset(folder: Path) -> Dataset:
    """Loads a data set that ``save_dataset`` saved.

    Raises:
      InputError: the folder is incomplete or was changed, or holds other files.
    """
    arrays, manifest = store.load(folder)
    try:
        if CATALOGUE not in manifest["files"]:
            raise ValueError(f"its manifest does not list {CATALOGUE}")
        words = store.read_json(folder / CATALOGUE) or {}
        truth = {name: arrays[f"truth_{name}"] for name in UserModel._fields if f"truth_{name}" in arrays}
        dataset = Dataset(
            name=words["name"],
            catalogue=Catalogue(
                tuple(words["titles"]),
                arrays["category"],
                tuple(words["category_names"]),
                tuple(words["text"]) if "text" in words else None,
            ),
            interactions=_interactions(arrays),
            histories=Histories(arrays["history_items"], arrays["history_offsets"]),
            split=arrays["split"],
            dropped=words["dropped"],
            notes=words.get("notes", {}),
            truth=UserModel(**truth) if truth else None,
            random_test=_interactions(arrays, RANDOM_TEST) if f"{RANDOM_TEST}user" in arrays else None,
        )
        if fault := broken(dataset):
            raise ValueError(f"it lacks {fault}")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{folder}: not a data set ({error}); run the data stage again") from None
    return dataset

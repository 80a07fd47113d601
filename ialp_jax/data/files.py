"""A ``Dataset`` on disk: arrays.npz, catalogue.json, manifest.json; see ``ialp_jax.store``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.types import Catalogue, Dataset, Histories, Interactions, UserModel

CATALOGUE = "catalogue.json"


def save_dataset(folder: Path, dataset: Dataset, manifest: Mapping[str, Any]) -> None:
    """Replaces ``folder`` by this data set; ``manifest`` is what the stage wants to remember of it."""
    rows = dataset.interactions
    arrays = {
        "user": rows.user,
        "item": rows.item,
        "like": rows.like,
        "ordered": np.asarray(rows.ordered),
        "category": dataset.catalogue.category,
        "split": dataset.split,
        "history_items": dataset.histories.items,
        "history_offsets": dataset.histories.offsets,
    }
    if rows.rating is not None:
        arrays["rating"] = rows.rating
    if dataset.truth is not None:
        arrays |= {f"truth_{name}": np.asarray(value) for name, value in dataset.truth._asdict().items()}
    words = {
        "name": dataset.name,
        "titles": dataset.catalogue.titles,
        "category_names": dataset.catalogue.category_names,
        "dropped": dataset.dropped,
    }
    if folder.exists():
        shutil.rmtree(folder)
    store.write_arrays(folder / "arrays.npz", arrays)
    store.write_json(folder / CATALOGUE, words)
    store.seal(folder, manifest)


def load_dataset(folder: Path) -> Dataset:
    """Reads what ``save_dataset`` wrote.

    Raises:
      InputError: incomplete or altered folder, or files of another kind.
    """
    arrays, _ = store.load(folder)
    try:
        words = json.loads((folder / CATALOGUE).read_text(encoding="utf-8"))
        truth = {name: arrays[f"truth_{name}"] for name in UserModel._fields if f"truth_{name}" in arrays}
        return Dataset(
            name=words["name"],
            catalogue=Catalogue(tuple(words["titles"]), arrays["category"], tuple(words["category_names"])),
            interactions=Interactions(
                arrays["user"], arrays["item"], arrays["like"], arrays.get("rating"), bool(arrays["ordered"])
            ),
            histories=Histories(arrays["history_items"], arrays["history_offsets"]),
            split=arrays["split"],
            dropped=words["dropped"],
            truth=UserModel(**truth) if truth else None,
        )
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: not a data set ({error!r}); run the data stage again") from None

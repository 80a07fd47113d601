"""What the stages share: where they read, write and speak."""

from __future__ import annotations

import shutil
from typing import Any

import jax
from tqdm import tqdm

from experiments.run import Run
from ialp_jax import store
from ialp_jax.data.files import load_dataset
from ialp_jax.data.invariants import fits_world
from ialp_jax.errors import InputError
from ialp_jax.simulator.twice import from_arrays
from ialp_jax.simulator.world import World, build
from ialp_jax.types import Key


def say(message: str) -> None:
    """One line on the console, above any progress bar."""
    tqdm.write(message)


def root_key(run: Run) -> Key:
    """The key from which everything random in JAX derives."""
    return jax.random.key(run.config.seed)


def read_worlds(run: Run) -> tuple[World, World]:
    """The world that the data and simulate stages wrote, and the one in which agents are judged.

    The two differ only where ``simulator.test_model`` asks for it.
    """
    run.key(None, "data", "simulator")
    dataset, folder = load_dataset(run.folder / "data"), run.folder / "simulator"
    arrays, _ = store.load(folder)
    try:
        model, test_model = from_arrays(arrays)
    except KeyError as error:
        raise InputError(f"{folder}: lacks {error}; run --stage=simulate again") from None
    if not all(
        fits_world(one, dataset.num_users, dataset.catalogue.num_items) for one in (model, test_model) if one
    ):
        raise InputError(
            f"{folder}: its user model is none of {run.folder / 'data'}; run --stage=simulate again"
        )
    world = build(dataset, model, run.config.simulator)
    return world, world if test_model is None else build(dataset, test_model, run.config.simulator)


def fresh(run: Run, name: str) -> Any:
    """An empty folder of the run."""
    folder = run.folder / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder

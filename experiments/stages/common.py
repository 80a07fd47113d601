"""What the stages share: where they read, write, save themselves and speak."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
from tqdm import tqdm

from experiments.run import Run, difference, settings
from experiments.runtime.termination import TERMINATION
from experiments.stages import recipes
from ialp_jax import store
from ialp_jax.data.files import load_dataset
from ialp_jax.data.invariants import fits_world
from ialp_jax.errors import InputError
from ialp_jax.simulator.world import World, build
from ialp_jax.training import checkpoint
from ialp_jax.training.checkpoint import Checkpoints
from ialp_jax.training.processes import is_first
from ialp_jax.training.watch import Watch
from ialp_jax.types import Key
from ialp_jax.users.evaluation_model import from_arrays


def say(message: str) -> None:
    """One line on the console, above any progress bar; of several processes the first speaks."""
    if is_first():
        tqdm.write(message)


def warn(message: str) -> None:
    """One line on the console that stands out."""
    say(f"warning: {message}")


def root_key(run: Run) -> Key:
    """The key from which everything random in JAX derives."""
    return jax.random.key(run.config.seed)


def read_worlds(run: Run) -> tuple[World, World]:
    """The world that the data and simulate stages wrote, and the one in which agents are judged.

    The two differ only where ``simulator.test_model`` asks for it.
    """
    recipes.require_there(run, "data", "simulator")
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


@contextlib.contextmanager
def saving(run: Run, name: str, key: str, every: int | None = None) -> Iterator[Checkpoints | None]:
    """The checkpoints of a training, in ``checkpoints/<name>/``; None where the run makes none.

    Within it SIGTERM and Ctrl-C wait until the training has saved itself.

    Args:
      run: its settings and folder.
      name: of the training.
      key: digest of all that fixes it.
      every: steps between two of them; by default as set.
    """
    config = run.config.checkpoint
    if not config.every:
        yield None
        return
    config = config if every is None else dataclasses.replace(config, every=every)
    folder = run.folder / "checkpoints" / name
    with (
        TERMINATION.deferred() as asked,
        Checkpoints(folder, config, key, settings(run.config), difference, asked, run.overwrite) as found,
    ):
        yield found


def forget(run: Run, *names: str) -> None:
    """Removes what is left of trainings whose results are sealed: a process may have died in between."""
    for name in names:
        checkpoint.remove(run.folder / "checkpoints" / name)


@contextlib.contextmanager
def watching(run: Run, name: str, num_seeds: int = 0) -> Iterator[Watch | None]:
    """The event files of a training for TensorBoard, in ``tensorboard/<name>/``; None where they are off.

    Of as many seeds as the run has, unless ``num_seeds`` says otherwise.
    """
    if not (run.config.tensorboard and is_first()):
        yield None
        return
    with Watch(run.folder / "tensorboard" / name, num_seeds or run.config.num_seeds) as watch:
        yield watch

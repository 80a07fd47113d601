"""Functions that several stages share, for worlds, checkpoints, TensorBoard and console lines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import jax
from tqdm import tqdm

from experiments.config import Config
from experiments.run import Run, difference, settings
from experiments.runtime.termination import TERMINATION
from experiments.stages import recipes
from ialp_jax import store
from ialp_jax.data.files import load_dataset
from ialp_jax.data.invariants import fits_world
from ialp_jax.errors import InputError
from ialp_jax.simulator.world import World, build
from ialp_jax.training.checkpoint import Checkpoints
from ialp_jax.training.checkpoint_files import remove_all
from ialp_jax.training.loop import Hooks
from ialp_jax.training.processes import is_first
from ialp_jax.training.watch import Watch
from ialp_jax.types import Key
from ialp_jax.users.evaluation_model import from_arrays


def say(message: str) -> None:
    """Prints one line above any progress bar; if several processes run, only the first prints."""
    if is_first():
        tqdm.write(message)


def warn(message: str) -> None:
    """Prints a warning."""
    say(f"warning: {message}")


SET_STEP = 1_000_003  # distance between the seeds of two sets of labels


def label_seed(config: Config) -> int:
    """The seed of all random draws behind the labels; the seed of the run for the first set of labels."""
    return config.seed + SET_STEP * config.labelling.label_set


def root_key(run: Run) -> Key:
    """The key from which all JAX keys of a run are derived."""
    return jax.random.key(run.config.seed)


class Worlds(NamedTuple):
    """The two worlds of a run, which differ only if ``simulator.test_model`` is set.

    Attributes:
      training: the world in which agents learn.
      evaluation: the world in which agents are evaluated.
    """

    training: World
    evaluation: World


def read_worlds(run: Run) -> Worlds:
    """Builds the worlds from the files of the data and simulate stages.

    Raises:
      InputError: one of these stages has not run, or the user model does not fit the data.
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
            f"{folder}: its user model is not of {run.folder / 'data'}; run --stage=simulate again"
        )
    world = build(dataset, model, run.config.simulator)
    return Worlds(world, world if test_model is None else build(dataset, test_model, run.config.simulator))


@contextlib.contextmanager
def hooked(run: Run, name: str, fingerprint: str, every: int | None = None) -> Iterator[Hooks]:
    """Checkpoints, TensorBoard and progress bar of a training; the arguments are those of `saving`."""
    with saving(run, name, fingerprint, every) as checkpoints, watching(run, name) as watch:
        yield Hooks(checkpoints, watch)


@contextlib.contextmanager
def saving(run: Run, name: str, fingerprint: str, every: int | None = None) -> Iterator[Checkpoints | None]:
    """The checkpoints of a training, in ``checkpoints/<name>/``; None if the run makes no checkpoints.

    Within the context, SIGTERM and Ctrl-C wait until the training has saved a checkpoint.

    Args:
      run: the run whose settings and folder are used.
      name: name of the training.
      fingerprint: fingerprint of all settings and inputs of the training.
      every: smallest number of steps between two checkpoints; by default ``checkpoint.every``.
    """
    config = run.config.checkpoint
    if not config.every:
        yield None
        return
    config = config if every is None else dataclasses.replace(config, every=every)
    folder = run.folder / "checkpoints" / name
    with (
        TERMINATION.deferred() as stopping,
        Checkpoints(
            folder, config, fingerprint, settings(run.config), difference, stopping, run.overwrite
        ) as checkpoints,
    ):
        yield checkpoints


def forget(run: Run, *names: str) -> None:
    """Removes checkpoints of finished trainings, which remain if a process died before it removed them."""
    for name in names:
        remove_all(run.folder / "checkpoints" / name)


@contextlib.contextmanager
def watching(run: Run, name: str, num_seeds: int = 0) -> Iterator[Watch | None]:
    """The TensorBoard event files of a training, in ``tensorboard/<name>/``; None if TensorBoard is off.

    Args:
      run: the run whose settings and folder are used.
      name: name of the training.
      num_seeds: S; 0: ``num_seeds`` of the run.
    """
    if not (run.config.tensorboard and is_first()):
        yield None
        return
    with Watch(run.folder / "tensorboard" / name, num_seeds or run.config.num_seeds) as watch:
        yield watch

"""A world in one line, for agents of others: data, user model and session dynamics by name."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np

import ialp_jax
from ialp_jax import store
from ialp_jax.data import DataConfig, load
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError, expanded
from ialp_jax.simulator.config import SimulatorConfig, simulator_of
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.presets import PRESETS
from ialp_jax.simulator.types import SessionParams
from ialp_jax.simulator.world import build
from ialp_jax.types import SPLITS, Dataset, UserModel
from ialp_jax.users.fit import fit


def make(
    name: str,
    preset: str = "paper",
    root: str | Path | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    *,
    split: str | None = None,
    data: DataConfig | None = None,
    simulator: SimulatorConfig | None = None,
) -> tuple[SessionEnvironment, SessionParams]:
    """A world's environment and parameters.

        env, params = ialp_jax.simulator.make("lfm", preset="hard", root="data", cache="worlds")
        observation, state = env.reset(key, params)
        observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)

    Args:
      name: of the data set, one of ``ialp_jax.data.config.LOADERS``.
      preset: easy, paper or hard, see ``presets.py``.
      root: folder of the data sets; generated worlds need none.
      seed: of the split of users, of the fit of the user model and of the lots of segments. The generated
        data stay the same; they have a seed of their own, ``data.demo.seed``.
      cache: folder in which the data set and the fitted user model are kept, one subfolder for each
        combination of settings, whatever the preset; without it they are made anew at each call. Raw files
        that change are not noticed: give another folder.
      split: whose sessions the parameters hold: offline, online, tuning or evaluation; None: all users'.
      data: other settings of the data than the defaults; its name, root and seed are replaced.
      simulator: other settings of the simulator than ``presets.WORLDS`` names for this world; its preset
        and seeds are replaced.

    Returns:
      The environment (the same for all worlds) and the parameters.

    Raises:
      InputError: unknown name, preset or split; what the data loader and the fit raise.
    """
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r}: unknown; known: {', '.join(sorted(PRESETS))}")
    if split is not None and split not in SPLITS:
        raise InputError(f"split {split!r}: unknown; known: {', '.join(SPLITS)}")
    root, cache = (expanded(str(path or ""), "root or cache") for path in (root, cache))
    data = dataclasses.replace(data or DataConfig(), name=name, root=root, seed=seed)
    simulator = copy.deepcopy(simulator) if simulator else simulator_of(name)
    simulator.preset, simulator.user_model.seed, simulator.dynamics.seed = preset, seed, seed
    data.check()
    simulator.check()
    dataset, model = _fitted(data, simulator, Path(cache).resolve() if cache else None)
    world = build(dataset, model, simulator)
    return world.env, world.params if split is None else world.of(SPLITS.index(split))


def _fitted(data: DataConfig, simulator: SimulatorConfig, cache: Path | None) -> tuple[Dataset, UserModel]:
    """Data set and user model, from the cache where they are there, whole and made with these settings."""
    if cache is None:
        dataset = load(data)
        return dataset, fit(dataset, simulator.user_model)[0]
    made_from = [dataclasses.asdict(data), dataclasses.asdict(simulator.user_model), ialp_jax.__version__]
    folder = cache / f"{data.name}-{store.digest(made_from)[:16]}"
    if store.read_manifest(folder / "user_model") is None:
        dataset = load(data)
        model = fit(dataset, simulator.user_model)[0]
        save_dataset(folder / "data", dataset, {"made_from": made_from})
        arrays = {field: np.asarray(value) for field, value in model._asdict().items()}
        store.save(folder / "user_model", arrays, {"made_from": made_from})  # last: it says all is there
    return load_dataset(folder / "data"), UserModel(**store.load(folder / "user_model")[0])

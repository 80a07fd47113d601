"""``ialp_jax.simulator.make``: a world in one line, for use in your own code."""

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
    """Returns the environment and the parameters of a world.

        env, params = ialp_jax.simulator.make("lfm", preset="hard", root="data", cache="worlds")
        observation, state = env.reset(key, params)
        observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)

    Args:
      name: name of the data set, a key of ``ialp_jax.data.config.LOADERS``.
      preset: easy, paper or hard, see ``presets.py``.
      root: folder with the files of the data set; generated worlds need none.
      seed: seed of the split of users, of the fit of the user model and of the user segments. Generated data
        depends on ``data.demo.seed`` instead.
      cache: folder that stores the data set and the fitted user model, in one subfolder per combination of
        settings. All presets share a subfolder. Without a cache, each call reads the data and fits the user
        model again. The cache does not notice changes in raw files; after a change, use another folder.
      split: users whose sessions are simulated: offline, online, tuning or evaluation. None: all users.
      data: settings of the data, instead of the defaults. `make` overwrites their name, root and seed.
      simulator: settings of the simulator, instead of the settings in ``presets.WORLDS``. `make` overwrites
        their preset and seeds.

    Returns:
      The environment (of the same class for all worlds) and the parameters.

    Raises:
      InputError: the name, the preset or the split is unknown; the data set cannot be read or the user model
        cannot be fitted.
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
    """Returns data set and user model from the cache; if they are missing, makes and caches them."""
    if cache is None:
        dataset = load(data)
        return dataset, fit(dataset, simulator.user_model)[0]
    made_from = [dataclasses.asdict(data), dataclasses.asdict(simulator.user_model), ialp_jax.__version__]
    folder = cache / f"{data.name}-{store.fingerprint(made_from)[:16]}"
    if store.read_manifest(folder / "user_model") is None:
        dataset = load(data)
        model = fit(dataset, simulator.user_model)[0]
        save_dataset(folder / "data", dataset, {"made_from": made_from})
        arrays = {field: np.asarray(value) for field, value in model._asdict().items()}
        # The user model is saved last, because its manifest marks the cache as complete.
        store.save(folder / "user_model", arrays, {"made_from": made_from})
    return load_dataset(folder / "data"), UserModel(**store.load(folder / "user_model")[0])

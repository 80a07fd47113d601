"""The pretrain stage: policies from labels and from logs."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments.roster import (
    actor_critic,
    recommender,
)
from experiments.run import KEY, Run, settings
from experiments.stages.common import fresh, read_worlds, root_key, say
from experiments.stages.label_stage import ialp_trainer, labelling_settings, learning
from ialp_jax import store
from ialp_jax.agents.base import Params, frozen_state
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.keys import stream
from ialp_jax.llm.labels.label_files import check_catalogue, check_labels
from ialp_jax.simulator.world import World
from ialp_jax.training import imagine
from ialp_jax.training.adapt import evaluator
from ialp_jax.training.checkpoint import save_params
from ialp_jax.training.offline import logged_transitions, offline_windows, training_sequences
from ialp_jax.training.pretrain import Pretrainer, offline_loss, supervised_loss
from ialp_jax.training.seeds import over_seeds, seed_keys
from ialp_jax.types import TUNING, Key


def pretrain(run: Run) -> None:
    """IALP from the labels, a2c_warm and the supervised SASRec from offline logs, to ``pretrain/``."""
    config = run.config
    parts = [labelling_settings(run), settings(config)["pretrain"], config.num_seeds, config.seed]
    key = run.key([parts, dataclasses.asdict(config.evaluation)], "data", "simulator", "labels")
    if run.is_done("pretrain", key):
        return say("pretrain: done before, kept")
    world, _ = read_worlds(run)
    labels, manifest = store.load(run.folder / "labels")
    check_labels(run.folder / "labels", labels, ("shown", "terminated", "truncated", "round"))
    check_catalogue(run.folder / "labels", labels, manifest, run.folder / "data", world.dataset)
    folder, began, curves = fresh(run, "pretrain"), time.perf_counter(), {}
    for name in PRETRAININGS:
        params, curves[name] = pretrained(run, world, name)
        save_params(folder / name, params)
    arrays = {"curve_updates": curves["ialp"][0], "curve_return": curves["ialp"][1]}
    for name, (updates, returns) in curves.items():
        arrays |= {f"{name}/updates": updates, f"{name}/return": returns}
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, {KEY: key, "seconds": time.perf_counter() - began})
    last = ", ".join(f"{name} {returns[:, -1].mean():.2f}" for name, (_, returns) in curves.items())
    say(f"pretrain: return on tuning users: {last}")


PRETRAININGS = ("ialp", "a2c_warm", "sasrec")


def pretrained(run: Run, world: World, name: str) -> tuple[Params, tuple[np.ndarray, np.ndarray]]:
    """One of `PRETRAININGS` from labels or logs: its parameters [S, ...] and its curve, see `train`."""
    config, key = run.config, stream(root_key(run), "pretrain")
    num_items = world.dataset.catalogue.num_items
    if name == "ialp":
        labels = store.load(run.folder / "labels")[0]
        trainer = ialp_trainer(run, num_items, key, config.num_seeds, final=True)
        sizes = [imagine.rounds_until(labels, number) for number in range(config.labelling.rounds)]
        data = imagine.training_data(labels, len(labels["choice"]))[0]
    else:
        logged = offline_windows(world.dataset, config.simulator.history_length, config.seed)
        horizon, supervised = config.simulator.horizon, name == "sasrec"
        updates = config.pretrain.sasrec_updates if supervised else config.pretrain.warm_updates
        trainer = control_trainer(run, num_items, name, updates, key)
        sizes = [len(logged.target)] * config.pretrain.evaluations
        data = training_sequences(logged) if supervised else logged_transitions(logged, horizon)
    curve = train(run, world, trainer, name, [(data, size) for size in sizes])
    return trainer.params, curve


def control_trainer(run: Run, num_items: int, name: str, updates: int, key: Key) -> Pretrainer:
    """The trainer of what learns from logs: ``a2c_warm`` or ``sasrec``."""
    config = run.config
    if name == "sasrec":
        network = recommender(config, num_items)
        loss, rate = supervised_loss(network), config.pretrain.sasrec_learning_rate
    else:
        network = actor_critic(config, num_items)
        loss, rate = offline_loss(config.agents.ialp, network), config.pretrain.warm_learning_rate
    return Pretrainer(
        loss,
        network,
        learning(run, rate),
        max(1, updates // config.pretrain.evaluations),
        key,
        config.num_seeds,
        config.simulator.history_length,
        config.adapt.seeds_by,
        name,
    )


def train(
    run: Run, world: World, trainer: Pretrainer, name: str, phases: list[tuple[Any, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Runs all phases; returns updates [E] and the return on tuning users before and after each [S, E]."""
    config, num_items = run.config, world.dataset.catalogue.num_items
    agent = (
        sasrec(recommender(config, num_items)) if name == "sasrec" else ialp(actor_critic(config, num_items))
    )
    key = stream(root_key(run), "pretrain_curve")
    measure = over_seeds(evaluator(world.env, agent, key, config.evaluation), config.adapt.seeds_by, shared=1)
    keys, tuning = seed_keys(key, config.num_seeds), world.of(TUNING)

    def measured() -> np.ndarray:
        return np.asarray(measure(tuning, jax.vmap(frozen_state)(trainer.params), keys)["return"])

    rows = [measured()]
    bar = tqdm(phases, desc=f"pretrain {name}", unit="phase")
    for data, size in bar:
        trainer.advance(data, size)
        rows.append(measured())
        bar.set_postfix({"return": f"{rows[-1].mean():.2f}"})
    return trainer.updates * np.arange(len(rows)), np.stack(rows, 1)

"""The pretrain stage: iALP learns from the labels, a2c_warm and the supervised SASRec from offline logs."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.make_agent import actor_critic, recommender
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import Worlds, forget, hooked, read_worlds, root_key, say
from experiments.stages.label_stage import ialp_trainer, learning
from ialp_jax import store
from ialp_jax.agents.base import Params, frozen_state
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.keys import stream
from ialp_jax.labelling import transitions
from ialp_jax.labelling.label_files import check_catalogue, check_labels
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import evaluator
from ialp_jax.training.loop import Hooks
from ialp_jax.training.offline import logged_transitions, offline_windows, training_sequences
from ialp_jax.training.params import save_params
from ialp_jax.training.pretrain import Pretrainer, offline_loss, supervised_loss
from ialp_jax.training.processes import by_first, host
from ialp_jax.training.seeds import over_seeds, placed, seed_keys
from ialp_jax.types import TUNING, Key


def pretrain(run: Run) -> None:
    """Pre-trains the parameters from which agents start, and saves them in ``pretrain/<source>/``."""
    parts = recipes.parts(run.config, "pretrain")
    if not parts:
        return say("pretrain: no agent starts from it")
    worlds = functools.cache(lambda: read_worlds(run))
    for part in parts:
        _pretrain(run, part.removeprefix("pretrain/"), worlds)


def _pretrain(run: Run, name: str, read: Callable[[], Worlds]) -> None:
    """Runs the pre-training ``name``, unless its part is complete; ``read`` returns the worlds."""
    part = f"pretrain/{name}"
    by_first(lambda: fits.require(run, part))
    fingerprint = recipes.fingerprint(run, part)
    if by_first(lambda: run.is_done(part, fingerprint)):
        forget(run, part)
        return say(f"pretrain {name}: done before, kept")
    by_first(lambda: run.begin(part) and None)
    world, began = read().training, time.perf_counter()
    if name == "ialp":
        labels, manifest = store.load(run.folder / "labels")
        check_labels(run.folder / "labels", labels, ("shown", "terminated", "truncated", "round"))
        check_catalogue(run.folder / "labels", labels, manifest, run.folder / "data", world.dataset)
    with hooked(run, part, checkpoint_fingerprint(run, fingerprint), every=1) as hooks:
        params, (updates, returns) = pretrained(run, world, name, hooks)
        seconds = time.perf_counter() - began

        def save() -> None:
            with store.replacing(run.folder / part) as folder:
                save_params(folder / "params", params)
                store.write_arrays(folder / "arrays.npz", {"updates": updates, "return": returns})
                manifest = {"seconds": seconds, "evaluation": dataclasses.asdict(run.config.evaluation)}
                store.seal(folder, manifest | recipes.stamp(run, part, began))

        by_first(save)
        if hooks.checkpoints:
            hooks.checkpoints.remove()
    say(f"pretrain {name}: return on tuning users {returns[:, -1].mean():.2f} in {seconds:.0f} s")


def checkpoint_fingerprint(run: Run, fingerprint: str) -> str:
    """Fingerprint of a pre-training's checkpoints.

    It also covers the evaluation settings, because checkpoints contain the evaluation curve.
    """
    return store.fingerprint([fingerprint, dataclasses.asdict(run.config.evaluation)])


Curve = tuple[np.ndarray, np.ndarray]  # gradient steps [E], returns [S, E]


def pretrained(run: Run, world: World, name: str, hooks: Hooks) -> tuple[Params, Curve]:
    """Pre-trains parameters [S, ...] on labels or logs; returns them and the curve, see `train`."""
    config, key = run.config, stream(root_key(run), "pretrain")
    num_items = world.dataset.catalogue.num_items
    if name == "ialp":
        labels = store.load(run.folder / "labels")[0]
        trainer = ialp_trainer(run, num_items, key, config.num_seeds, final=True)
        sizes = [transitions.rounds_until(labels, number) for number in range(config.labelling.rounds)]
        data = transitions.training_data(labels, len(labels["choice"]))[0]
    else:
        logged = offline_windows(world.dataset, config.simulator.history_length, config.seed)
        horizon, supervised = config.simulator.horizon, name == "sasrec"
        updates = config.pretrain.sasrec_updates if supervised else config.pretrain.warm_updates
        trainer = control_trainer(run, num_items, name, updates, key)
        sizes = [len(logged.target)] * config.pretrain.evaluations
        data = training_sequences(logged) if supervised else logged_transitions(logged, horizon)
    curve = train(run, world, trainer, name, (data, sizes), hooks)
    return trainer.params if jax.process_count() == 1 else host(trainer.params), curve


def control_trainer(run: Run, num_items: int, name: str, updates: int, key: Key) -> Pretrainer:
    """The trainer for pre-training on logs; ``name`` is ``a2c_warm`` or ``sasrec``."""
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
        config.devices,
    )


def train(
    run: Run, world: World, trainer: Pretrainer, name: str, phases: tuple[Any, list[int]], hooks: Hooks
) -> Curve:
    """Trains all phases.

    Args:
      run: the run whose settings are used.
      world: the training world.
      trainer: a trainer that has not run a phase yet.
      name: name of the pre-training.
      phases: data, and for each phase the number of rows to train on.
      hooks: checkpoints, TensorBoard and progress bar.

    Returns:
      Gradient steps [E] and the return on tuning users [S, E], before the first phase and after each phase.
    """
    config, num_items = run.config, world.dataset.catalogue.num_items
    agent = (
        sasrec(recommender(config, num_items)) if name == "sasrec" else ialp(actor_critic(config, num_items))
    )
    key = stream(root_key(run), "pretrain_curve")
    evaluate_seed = evaluator(world.env, agent, key, config.evaluation)
    measure = over_seeds(evaluate_seed, config.adapt.seeds_by, shared=1, mesh=trainer.mesh)
    keys, tuning = seed_keys(key, config.num_seeds), placed(world.of(TUNING), trainer.mesh)

    def evaluate(params: Params) -> dict[str, np.ndarray]:
        return {"return": host(measure(tuning, jax.vmap(frozen_state)(params), keys)["return"])}

    rows = trainer.run(*phases, evaluate, hooks)
    return trainer.updates * np.arange(len(rows)), np.stack([row["return"] for row in rows], 1)

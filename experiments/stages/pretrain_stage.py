"""The pretrain stage: iALP from the labels, A2C warm and the supervised SASRec from offline logs."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments.make_agent import actor_critic, recommender
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import forget, read_worlds, root_key, saving, say, watching
from experiments.stages.label_stage import ialp_trainer, learning
from ialp_jax import store
from ialp_jax.agents.base import Params, frozen_state
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.errors import NotFiniteError
from ialp_jax.keys import stream
from ialp_jax.labelling import imagine
from ialp_jax.labelling.label_files import check_catalogue, check_labels
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import evaluator
from ialp_jax.training.checkpoint import Checkpoints, Rows, save_params
from ialp_jax.training.offline import logged_transitions, offline_windows, training_sequences
from ialp_jax.training.pretrain import Pretrainer, offline_loss, supervised_loss
from ialp_jax.training.processes import by_first, host
from ialp_jax.training.seeds import over_seeds, placed, seed_keys
from ialp_jax.training.watch import Watch
from ialp_jax.types import TUNING, Key


def pretrain(run: Run) -> None:
    """What the agents of a run start from, each to its own ``pretrain/<source>/``."""
    parts = recipes.parts(run.config, "pretrain")
    if not parts:
        return say("pretrain: no agent starts from it")
    worlds = functools.cache(lambda: read_worlds(run)[0])
    for part in parts:
        _pretrain(run, part.removeprefix("pretrain/"), worlds)


def _pretrain(run: Run, name: str, worlds: Callable[[], World]) -> None:
    """One source to ``pretrain/<name>/``, unless it is there; ``worlds`` is called where it is not."""
    part = f"pretrain/{name}"
    by_first(lambda: fits.require(run, part))
    key = recipes.key(run, part)
    if by_first(lambda: run.is_done(part, key)):
        forget(run, part)
        return say(f"pretrain {name}: done before, kept")
    by_first(lambda: run.begin(part) and None)
    world, began = worlds(), time.perf_counter()
    if name == "ialp":
        labels, manifest = store.load(run.folder / "labels")
        check_labels(run.folder / "labels", labels, ("shown", "terminated", "truncated", "round"))
        check_catalogue(run.folder / "labels", labels, manifest, run.folder / "data", world.dataset)
    with saving(run, part, saving_key(run, key), every=1) as checkpoints, watching(run, part) as watch:
        params, (updates, returns) = pretrained(run, world, name, checkpoints, watch)
        seconds = time.perf_counter() - began

        def save() -> None:
            with store.replacing(run.folder / part) as folder:
                save_params(folder / "params", params)
                store.write_arrays(folder / "arrays.npz", {"updates": updates, "return": returns})
                measured = dataclasses.asdict(run.config.evaluation)
                told = {"seconds": seconds, "evaluation": measured}
                store.seal(folder, told | recipes.stamp(run, part, began))

        by_first(save)
        if checkpoints:
            checkpoints.remove()
    say(f"pretrain {name}: return on tuning users {returns[:, -1].mean():.2f} in {seconds:.0f} s")


def saving_key(run: Run, key: str) -> str:
    """Digest of everything on which the checkpoints of a pre-training depend: they also hold its curve."""
    return store.digest([key, dataclasses.asdict(run.config.evaluation)])


Curve = tuple[np.ndarray, np.ndarray]  # gradient steps [E], returns [S, E]


def pretrained(
    run: Run,
    world: World,
    name: str,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
) -> tuple[Params, Curve]:
    """One source from labels or logs: its parameters [S, ...] and its curve, see `train`."""
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
    curve = train(run, world, trainer, name, [(data, size) for size in sizes], checkpoints, watch)
    return trainer.params if jax.process_count() == 1 else host(trainer.params), curve


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
        config.devices,
    )


def train(
    run: Run,
    world: World,
    trainer: Pretrainer,
    name: str,
    phases: list[tuple[Any, int]],
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
) -> Curve:
    """Runs all phases; returns updates [E] and the return on tuning users before and after each [S, E]."""
    config, num_items = run.config, world.dataset.catalogue.num_items
    agent = (
        sasrec(recommender(config, num_items)) if name == "sasrec" else ialp(actor_critic(config, num_items))
    )
    key = stream(root_key(run), "pretrain_curve")
    mesh = trainer.mesh
    evaluate = evaluator(world.env, agent, key, config.evaluation)
    measure = over_seeds(evaluate, config.adapt.seeds_by, shared=1, mesh=mesh)
    keys, tuning = seed_keys(key, config.num_seeds), placed(world.of(TUNING), mesh)

    def measured() -> dict[str, np.ndarray]:
        state = jax.vmap(frozen_state)(trainer.params)
        return {"return": host(measure(tuning, state, keys)["return"])}

    saved = checkpoints and checkpoints.restore(trainer.learner)
    if saved:
        trainer.resume(len(saved.tables["rows"]) - 1, saved)
    rows = saved.tables["rows"] if saved else [measured()]
    for number, row in enumerate(rows):
        _tell(watch, number * trainer.updates, "evaluation", row)
    for number, log in enumerate(trainer.logs, 1):
        _tell(watch, number * trainer.done // len(trainer.logs), "learn", log)

    def now() -> tuple[int, Any, dict[str, Rows]]:
        return trainer.done, trainer.learner, {"rows": rows, "logs": trainer.logs}

    def after() -> None:
        _tell(watch, trainer.done, "learn", trainer.logs[-1])
        if checkpoints:
            checkpoints.offer(*now())

    done = len(rows) - 1
    with tqdm(total=len(phases), initial=done, desc=f"pretrain {name}", unit="phase") as bar:
        for data, size in phases[done:]:
            try:
                trainer.advance(data, size, after)
            except NotFiniteError as error:
                kept = f"; the state before is in {checkpoints.save(*now())}" if checkpoints else ""
                raise NotFiniteError(f"{error}{kept}") from None
            rows.append(measured())
            _tell(watch, trainer.done, "evaluation", rows[-1])
            bar.set_postfix({"return": f"{rows[-1]['return'].mean():.2f}"})
            bar.update()
    return trainer.updates * np.arange(len(rows)), np.stack([row["return"] for row in rows], 1)


def _tell(watch: Watch | None, step: int, what: str, values: dict[str, np.ndarray]) -> None:
    """Shows metrics after so many gradient steps."""
    if watch:
        watch.tell(step, {f"{what}/{metric}": value for metric, value in values.items()})

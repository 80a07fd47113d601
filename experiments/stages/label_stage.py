"""The tune and label stages: from a language model to labels."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext

import jax
import numpy as np
from tqdm import tqdm

from experiments.make_agent import (
    actor_critic,
)
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import read_worlds, root_key, say, warn, watching
from ialp_jax import store
from ialp_jax.claim import ADAPTER, LABELS
from ialp_jax.keys import stream
from ialp_jax.labelling import imagine, quality, tuner
from ialp_jax.labelling.client import LabelWorker
from ialp_jax.labelling.sources import label_source
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import alike, prompts
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.offline import offline_windows
from ialp_jax.training.pretrain import Pretrainer, offline_loss
from ialp_jax.types import Dataset, Key


def ialp_trainer(run: Run, num_items: int, key: Key, num_seeds: int, final: bool = False) -> Pretrainer:
    """The trainer of iALP while labelling and, ``final``, in pre-training: alike unless settings differ."""
    config, network = run.config, actor_critic(run.config, num_items)
    updates = config.pretrain.updates_per_round
    return Pretrainer(
        offline_loss(config.agents.ialp, network),
        network,
        learning(run, config.pretrain.ialp_learning_rate if final else None),
        config.pretrain.ialp_updates or updates if final else updates,
        key,
        num_seeds,
        config.simulator.history_length,
        config.adapt.seeds_by,
        "ialp",
        config.devices if final else None,
    )


def learning(run: Run, rate: float | None) -> PretrainConfig:
    """The settings of a pre-training, with a learning rate of its own where it has one."""
    settings = run.config.pretrain
    return settings if rate is None else dataclasses.replace(settings, learning_rate=rate)


def tune(run: Run) -> None:
    """Tunes the LLM by LoRA on the offline users, to ``tune/``."""
    config = run.config
    if not config.llm.tune.steps:
        return say("tune: off, --config.llm.tune.steps is 0")
    key, began = recipes.key(run, "tune"), time.perf_counter()
    fits.require(run, "tune")
    if run.is_done("tune", key):
        return say("tune: done before, kept")
    folder = run.begin("tune", ADAPTER)
    with tuner.Tuner(config.llm, run.folder / "data", run.folder / "labels", config.seed) as worker:
        (folder / store.MANIFEST).unlink(missing_ok=True)
        manifest = worker.tune(folder, config.simulator.history_length, config.labelling.candidates)
    store.seal(folder, manifest | recipes.stamp(run, "tune", began))
    show_losses(run, "tune", manifest["tuning"]["loss"])
    told = manifest["tuning"]["held_out"]
    say(
        f"tune: held-out accuracy {told['accuracy_before']:.1%} -> {told['accuracy_after']:.1%} "
        f"(chance {told['chance']:.1%})"
    )


def show_losses(run: Run, name: str, curve: list[list[float]]) -> None:
    """Shows a language model's training in TensorBoard: pairs of step and mean loss."""
    if curve:
        with watching(run, name, num_seeds=1) as watch:
            for step, loss in curve if watch else ():
                watch.tell(int(step), {"learn/loss": np.array([loss])})


def label(run: Run) -> None:
    """Imagined sessions, labelled round by round by the LLM or what stands in for it, to ``labels/``."""
    config, began = run.config, time.perf_counter()
    fits.require(run, "labels")
    if run.is_done("labels", recipes.key(run, "labels")):
        return say("label: done before, kept")
    folder = run.begin("labels", LABELS)
    (world, _), stage_key = read_worlds(run), stream(root_key(run), "label")
    network = actor_critic(config, world.dataset.catalogue.num_items)
    starts = offline_windows(world.dataset, config.simulator.history_length, config.seed)
    params = imagine.imagined_params(world.params, starts.history)
    trainer = ialp_trainer(run, world.dataset.catalogue.num_items, stage_key, 1)
    users = imagine.start_sessions(world.env, params, stage_key, config.labelling)
    rounds, same = [], alike_items(config.llm, world.dataset)
    source = label_source(config.labelling, world.dataset, starts, world.params.user_model, config.seed)
    asked = source or LabelWorker(config.llm, run.folder / "data", folder, config.seed)
    if not source:
        asked.notice = warn
    with nullcontext(asked) if source else asked as worker:  # or it is refused, and the old labels stay
        (folder / store.MANIFEST).unlink(missing_ok=True)
        answer = worker.label if source else lambda h, c, rows: worker.label(h, c)
        total = config.labelling.rounds * config.labelling.steps * config.labelling.sessions
        with tqdm(total=total, desc="label", unit="prompt", unit_scale=True) as bar:
            for number in range(config.labelling.rounds):
                actor = jax.tree.map(lambda leaf: leaf[0], trainer.params)
                users, rows = imagine.label_round(
                    world.env,
                    params,
                    network,
                    actor,
                    users,
                    answer,
                    stream(stage_key, "round", number),
                    config.labelling,
                    on_step=lambda: bar.update(config.labelling.sessions),
                    alike=same,
                )
                rounds.append({**rows, "round": np.full(len(rows["choice"]), number, np.int32)})
                bar.set_postfix(share_of(rows["choice"]))
                if not source:  # before the actor learns from nothing
                    worker.require_valid()
                if number + 1 < config.labelling.rounds:
                    arrays = {name: np.concatenate([r[name] for r in rounds]) for name in rounds[0]}
                    trainer.advance(*imagine.training_data(arrays, total))
        manifest = worker.manifest()
    arrays = {name: np.concatenate([r[name] for r in rounds]) for name in rounds[0]}
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, manifest | recipes.stamp(run, "labels", began))
    show_losses(run, "label", manifest.get("training", {}).get("loss", []))
    say(f"label: {total:,} prompts, {quality.line(manifest)}")
    for caution in manifest.get("cautions", ()):
        warn(caution)


def alike_items(llm: LLMConfig, dataset: Dataset) -> np.ndarray | None:
    """Items that look alike in a prompt, see `ialp_jax.llm.prompting.alike`."""
    template = prompts.choose(llm.template, embedded=not llm.model)
    titles = prompts.shown(dataset, template).catalogue.titles
    return alike.groups(titles, template, llm.mode != "likelihood")


def share_of(choice: np.ndarray) -> dict[str, str]:
    """Shares of none and of invalid labels, int [P], for the progress bar."""
    return {name: f"{np.mean(kind):.0%}" for name, kind in (("none", choice == 0), ("invalid", choice < 0))}

"""The lora stage fine-tunes the LLM; the label stage gets labels for imagined sessions."""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np
from tqdm import tqdm

from experiments.make_agent import actor_critic, recommender
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import label_seed, read_worlds, say, warn, watching
from ialp_jax import store
from ialp_jax.claim import ADAPTER, LABELS
from ialp_jax.data.splits import Windows, split_offline
from ialp_jax.keys import stream
from ialp_jax.labelling import drift, quality, rounds
from ialp_jax.labelling.calibrated import Calibrated, HeldOut
from ialp_jax.labelling.config import LLM, LOG_MODEL, NONE
from ialp_jax.labelling.imagine import imagined_params
from ialp_jax.labelling.labeller import Labeller, LabelSource
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.labelling.log_model import LogModel
from ialp_jax.labelling.lora_client import LoraClient
from ialp_jax.labelling.sources import rule_labeller
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import alike, templates
from ialp_jax.simulator.world import World
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.offline import offline_windows
from ialp_jax.training.pretrain import Pretrainer, offline_loss
from ialp_jax.types import Dataset, Key


def ialp_trainer(run: Run, num_items: int, key: Key, num_seeds: int, final: bool = False) -> Pretrainer:
    """The trainer of iALP: for pre-training if ``final``, otherwise for the label stage.

    The two trainers are equal if ``pretrain`` has no separate rate and number of updates for iALP.
    """
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
    """The settings of a pre-training; ``rate`` replaces the learning rate unless it is None."""
    settings = run.config.pretrain
    return settings if rate is None else dataclasses.replace(settings, learning_rate=rate)


def lora(run: Run) -> None:
    """Fine-tunes the LLM by LoRA on the offline users; writes ``lora/``."""
    config = run.config
    if not config.llm.lora.steps:
        return say("lora: off, --config.llm.lora.steps is 0")
    if not recipes.uses_adapter(config):
        return say(f"lora: not needed, --config.labelling.source={config.labelling.source} and no audit")
    fingerprint, began = recipes.fingerprint(run, "lora"), time.perf_counter()
    fits.require(run, "lora")
    if run.is_done("lora", fingerprint):
        return say("lora: done before, kept")
    folder = run.begin("lora", ADAPTER)
    with LoraClient(config.llm, run.folder / "data", run.folder / "labels", label_seed(config)) as client:
        (folder / store.MANIFEST).unlink(missing_ok=True)
        manifest = client.fine_tune(folder, config.simulator.history_length, config.labelling.candidates)
    store.seal(folder, manifest | recipes.stamp(run, "lora", began))
    show_losses(run, "lora", manifest["fine_tuning"]["loss"])
    held_out = manifest["fine_tuning"]["held_out"]
    say(
        f"lora: held-out accuracy {held_out['accuracy_before']:.1%} -> {held_out['accuracy_after']:.1%} "
        f"(chance {held_out['chance']:.1%})"
    )


def show_losses(run: Run, name: str, curve: list[list[float]]) -> None:
    """Writes the loss curve of a language model, pairs of step and mean loss, to TensorBoard."""
    if curve:
        with watching(run, name, num_seeds=1) as watch:
            for step, loss in curve if watch else ():
                watch.tell(int(step), {"learn/loss": np.array([loss])})


def label(run: Run) -> None:
    """Gets labels for imagined sessions, round by round; writes ``labels/``."""
    config, began = run.config, time.perf_counter()
    fits.require(run, "labels")
    if run.is_done("labels", recipes.fingerprint(run, "labels")):
        return say("label: done before, kept")
    folder = run.begin("labels", LABELS)
    (world, _), key = read_worlds(run), stream(jax.random.key(label_seed(config)), "label")
    num_items = world.dataset.catalogue.num_items
    starts = offline_windows(world.dataset, config.simulator.history_length, config.seed)
    setting = rounds.Setting(
        world.env,
        imagined_params(world.params, starts.history),
        actor_critic(config, num_items),
        config.labelling,
        alike_items(config.llm, world.dataset),
        world.dataset.popularity(),
    )
    trainer, total = ialp_trainer(run, num_items, key, 1), config.labelling.num_prompts()
    with labeller_of(run, world, starts) as labeller:  # if the LLM cannot be used, the old labels stay
        (folder / store.MANIFEST).unlink(missing_ok=True)
        with tqdm(total=total, desc="label", unit="prompt", unit_scale=True) as bar:
            arrays = rounds.label_rounds(
                setting,
                labeller,
                trainer,
                key,
                on_step=lambda: bar.update(config.labelling.sessions),
                on_round=lambda arrays: bar.set_postfix(share_of(arrays["choice"])),
            )
        manifest = labeller.manifest()
    arrays["user"] = starts.user[arrays["window"]].astype(np.int32)
    manifest["rounds"] = drift.by_round(arrays, world.dataset, world.params.user_model)
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, manifest | recipes.stamp(run, "labels", began))
    show_losses(run, "label", manifest.get("training", {}).get("loss", []))
    say(f"label: {total:,} prompts, {quality.line(manifest)}")
    if facts := quality.calibration(manifest):
        say(f"label: {'; '.join(f'{name} {value}' for name, value in facts)}")
    for caution in manifest.get("cautions", ()):
        warn(caution)


def labeller_of(run: Run, world: World, starts: Windows) -> Labeller:
    """The label sources that ``labelling.source`` names, calibrated if the settings say so.

    The imagined sessions start in the windows ``starts``.
    """
    config, dataset, seed = run.config, world.dataset, label_seed(run.config)
    training, held_out = split_offline(dataset, config.llm.embedded.holdout, seed)
    logged = Windows(*(column[np.isin(starts.user, training)] for column in starts))
    sources: dict[str, LabelSource] = {}
    for name in config.labelling.sources():
        if name == LLM:
            data, labels = run.folder / "data", run.folder / "labels"
            sources[name] = LLMLabeller(config.llm, data, labels, seed, warn)
        elif name == LOG_MODEL:
            sources[name] = log_model(run, dataset, logged)
        else:
            model = world.params.user_model
            sources[name] = rule_labeller(config.labelling, dataset, starts, model, seed)
    if config.labelling.calibration == NONE:
        return sources[config.labelling.source]
    likes = np.concatenate([dataset.histories.of(user) for user in training])
    return Calibrated(
        sources,
        HeldOut.of(dataset, starts, held_out, alike_items(config.llm, dataset)),
        np.bincount(likes, minlength=dataset.catalogue.num_items + 1),
        config.labelling.calibration_questions,
        seed,
        config.llm.on_invalid == "drop",
    )


def log_model(run: Run, dataset: Dataset, logged: Windows) -> LogModel:
    """The label source ``log_model``; it trains on the windows ``logged``."""
    config = run.config
    return LogModel(
        label_seed(config),
        config.labelling.none_share,
        run.folder / "labels" / "log_model",
        recommender(config, dataset.catalogue.num_items),
        logged,
        learning(run, config.pretrain.sasrec_learning_rate),
        stream(jax.random.key(label_seed(config)), "log_model"),
    )


def alike_items(llm: LLMConfig, dataset: Dataset) -> np.ndarray | None:
    """Groups of items that have the same words in a prompt, see `ialp_jax.llm.prompting.alike`."""
    template = templates.choose(llm.template, embedded=not llm.model)
    titles = templates.shown(dataset, template).catalogue.titles
    return alike.groups(titles, template, llm.mode != "likelihood")


def share_of(choice: np.ndarray) -> dict[str, str]:
    """Shares of "none" and of invalid labels among choices int [P], as text for the progress bar."""
    return {name: f"{np.mean(kind):.0%}" for name, kind in (("none", choice == 0), ("invalid", choice < 0))}

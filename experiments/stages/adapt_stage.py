"""The adapt stage: trains every agent online."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.make_agent import actor_critic, make_agent, recommender
from experiments.run import TEMPERATURE, Run
from experiments.stages import fits, recipes
from experiments.stages.common import Worlds, forget, hooked, read_worlds, root_key, say
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.agents.base import Agent, Params
from ialp_jax.agents.numbered import numbered
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.labelling import transitions
from ialp_jax.labelling.label_files import catalogue_facts
from ialp_jax.networks.heads import tempered
from ialp_jax.simulator.config import replaced
from ialp_jax.simulator.world import World
from ialp_jax.training import kept
from ialp_jax.training.adapt import OnlineTask, adapted
from ialp_jax.training.config import AdaptConfig
from ialp_jax.training.groups import groups_of
from ialp_jax.training.kept import BEST, Kept
from ialp_jax.training.params import load_params
from ialp_jax.training.processes import by_first
from ialp_jax.types import ONLINE, SPLITS, Dataset, Transition


def adaptation(run: Run) -> None:
    """Trains every agent of the run online; saves its curves and its states in ``adapt/<agent>/``."""
    worlds = functools.cache(lambda: read_worlds(run))
    for name in run.config.agent_ids():
        adapt_agent(run, name, worlds)


def adapt_agent(run: Run, name: str, read: Callable[[], Worlds]) -> None:
    """Trains one agent online, unless ``adapt/<name>/`` is complete; ``read`` returns the worlds."""
    part = f"adapt/{name}"
    by_first(lambda: fits.require(run, part))
    fingerprint = recipes.fingerprint(run, part)
    keep = run.config.adapt.keep
    if by_first(lambda: run.is_done(part, fingerprint)):
        lacking = by_first(lambda: lacking_states(run, part))
        if not (lacking and run.overwrite):
            forget(run, part)
            return say(f"adapt {name}: done before, kept{lacking and f'; {lacking}'}")
    by_first(lambda: run.begin(part) and None)
    worlds = read()
    began = time.perf_counter()
    pretrained = pretrained_params(run, worlds.training, name)
    # Checkpoints hold the best states only if these are kept.
    with hooked(run, part, store.fingerprint([fingerprint, keep]) if keep == BEST else fingerprint) as hooks:
        task, agent = online_task(run, worlds), agent_of(run, name, worlds)
        curves, states = adapted(task, agent, pretrained, name, hooks)
        seconds = time.perf_counter() - began
        manifest = {
            "agent": name,
            "world": worlds.training.dataset.name,
            **start_of(run, name),
            "num_seeds": run.config.num_seeds,
            "seconds": seconds,
            **recipes.stamp(run, part, began),
        }
        size = by_first(lambda: save(run, part, curves, states, manifest, worlds.training.dataset))
        if hooks.checkpoints:
            hooks.checkpoints.remove()
    returns = curves["return"].mean(0)
    kept_size = f", states of {size / 2**20:.1f} MiB" if states else ""
    say(f"adapt {name}: return {returns[0]:.2f} -> {returns[-1]:.2f} in {seconds:.0f} s{kept_size}")


def save(
    run: Run,
    part: str,
    curves: Mapping[str, np.ndarray],
    states: Kept | None,
    manifest: Mapping[str, Any],
    dataset: Dataset,
) -> int:
    """Writes the folder of an adaptation; returns the size of the states in bytes."""
    with store.replacing(run.folder / part) as folder:
        store.write_arrays(folder / store.ARRAYS, curves)
        entry: dict[str, Any] = {"keep": run.config.adapt.keep}
        if states:
            entry |= kept.save(folder / kept.FOLDER, states) | {"catalogue": catalogue_facts(dataset)}
        store.seal(folder, {**manifest, kept.ENTRY: entry})
    return entry.get("bytes", 0)


def lacking_states(run: Run, part: str) -> str:
    """If ``adapt.keep`` asks for states that a finished adaptation has not kept, says so; otherwise ""."""
    keep = run.config.adapt.keep
    entry = (store.read_manifest(run.folder / part) or {}).get(kept.ENTRY)
    if keep in (kept.NONE, entry.get("keep") if isinstance(entry, dict) else kept.NONE):
        return ""
    return f"its states of --config.adapt.keep={keep} were not kept, --redo trains it again"


def online_task(run: Run, worlds: Worlds, adapt_config: AdaptConfig | None = None) -> OnlineTask:
    """The online task that all agents of a run share, by default with the run's ``adapt`` settings."""
    config, training = run.config, worlds.training
    return OnlineTask(
        env=training.env,
        online=training.of(ONLINE),
        evaluation=worlds.evaluation.of(SPLITS.index(config.evaluation.users)),
        key=stream(root_key(run), "adapt"),
        num_seeds=config.num_seeds,
        adapt_config=adapt_config or config.adapt,
        evaluation_config=config.evaluation,
        groups=groups_of(training.dataset),
        devices=config.devices,
    )


def agent_of(run: Run, name: str, worlds: Worlds, numbers: Mapping[str, float] | None = None) -> Agent:
    """Builds one agent with the settings of the run.

    A schedule that covers the whole adaptation ends after the run's ``adapt.env_steps``, even if a search
    trains the agent for fewer steps.

    Args:
      run: the run whose settings are used.
      name: id of the agent.
      worlds: the training world, and the evaluation world whose user model a privileged agent sees.
      numbers: float settings by path; other values of these need no new compilation, see `numbered`.
    """
    popularity, replayed = worlds.training.dataset.popularity(), labelled(run, name)

    def make(values: Mapping[str, Any]) -> Agent:
        settings = replaced(run.config, values)
        return make_agent(name, settings, worlds.evaluation.params, popularity, replayed)

    return numbered(make, numbers) if numbers else make({})


def labelled(run: Run, name: str) -> Transition | None:
    """The transitions made from the labels, for an agent that replays them; otherwise None."""
    if not registry.record(name).replays_labels:
        return None
    return transitions.labelled_transitions(store.load(run.folder / "labels")[0])[0]


def start_of(run: Run, name: str) -> dict[str, Any]:
    """Entries of an adaptation's manifest: the pre-training from which the agent starts, its temperature."""
    source = registry.starts_from(name, run.config.agents)
    if not source:
        return {}
    return {"starts_from": source, TEMPERATURE: temperature_in(run.folder / "pretrain" / source)}


def temperature_in(folder: Path) -> float:
    """The temperature of pre-trained parameters; 1 if the manifest has none, as in a user's own folder."""
    manifest = store.read_manifest(folder) or {}
    temperature = manifest.get(TEMPERATURE, 1.0)
    if type(temperature) not in (int, float) or not 0 < temperature < math.inf:
        where = f"{folder / store.MANIFEST}: its {TEMPERATURE}"
        raise InputError(f"{where} is {str(temperature)[:40]!r}, not a positive number")
    return float(temperature)


def pretrained_params(run: Run, world: World, name: str, folder: Path | None = None) -> Params | None:
    """The parameters [S, ...] from which an agent starts, at their temperature, or None.

    Args:
      run: the run whose settings and folder are used.
      world: the training world.
      name: id of the agent.
      folder: folder of the pre-trained parameters; by default that of the run's pretrain stage.
    """
    source, num_items = registry.starts_from(name, run.config.agents), world.dataset.catalogue.num_items
    if not source:
        return None
    folder = folder or run.folder / "pretrain" / source
    store.verify(folder)
    return tempered(raw_params(run, num_items, source, folder), temperature_in(folder))


def raw_params(run: Run, num_items: int, source: str, folder: Path) -> Params:
    """The parameters [S, ...] of a pre-training, without its temperature."""
    make = recommender if source == "sasrec" else actor_critic
    history = np.zeros(run.config.simulator.history_length, np.int32)
    one = jax.eval_shape(make(run.config, num_items).init, jax.random.key(0), history)
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((run.config.num_seeds, *leaf.shape), leaf.dtype), one
    )
    return load_params(folder / "params", stacked)

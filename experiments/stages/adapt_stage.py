"""The adapt stage: every agent online."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.make_agent import actor_critic, make_agent, recommender
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import forget, read_worlds, root_key, saving, say, watching
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.agents.base import Agent, Params
from ialp_jax.agents.numbered import numbered
from ialp_jax.keys import stream
from ialp_jax.labelling import imagine
from ialp_jax.simulator.config import replaced
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import adapt
from ialp_jax.training.checkpoint import Checkpoints, load_params
from ialp_jax.training.config import AdaptConfig
from ialp_jax.training.groups import groups_of
from ialp_jax.training.processes import by_first
from ialp_jax.training.watch import Watch
from ialp_jax.types import ONLINE, SPLITS, Transition


def adaptation(run: Run) -> None:
    """Every agent online, each to its own ``adapt/<agent>/``."""
    worlds = functools.cache(lambda: read_worlds(run))
    for name in run.config.agent_ids():
        adapt_agent(run, name, worlds)


def adapt_agent(run: Run, name: str, worlds: Callable[[], tuple[World, World]]) -> None:
    """One agent online, to ``adapt/<name>/``, unless it is there; ``worlds`` is called where it is not."""
    part = f"adapt/{name}"
    by_first(lambda: fits.require(run, part))
    key = recipes.key(run, part)
    if by_first(lambda: run.is_done(part, key)):
        forget(run, part)
        return say(f"adapt {name}: done before, kept")
    by_first(lambda: run.begin(part) and None)
    world, judge = worlds()
    began = time.perf_counter()
    start = pretrained_params(run, world, name)
    with saving(run, part, key) as checkpoints, watching(run, part) as watch:
        curves = adapted(run, name, world, judge, run.config.adapt, start, checkpoints, watch)
        seeds, seconds = run.config.num_seeds, time.perf_counter() - began
        manifest = {"agent": name, "world": world.dataset.name, "num_seeds": seeds, "seconds": seconds}
        by_first(lambda: store.save(run.folder / part, curves, manifest | recipes.stamp(run, part, began)))
        if checkpoints:
            checkpoints.remove()
    returns = curves["return"].mean(0)
    say(f"adapt {name}: return {returns[0]:.2f} -> {returns[-1]:.2f} in {seconds:.0f} s")


def adapted(
    run: Run,
    name: str,
    world: World,
    judge: World,
    how: AdaptConfig,
    start: Params | None,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
    numbers: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """The curves of one agent.

    Args:
      run: its settings; a schedule that spans the whole adaptation is as long as that of the run.
      name: of the agent.
      world: in which it learns, from online users.
      judge: in which it is judged, by the users of ``evaluation.users``.
      how: how many env steps it has in fact.
      start: parameters [S, ...] it starts from, if any.
      checkpoints: where it saves itself and goes on from.
      watch: is shown how it goes.
      numbers: settings, by path, that one compiled program is to serve with any value; see `numbered`.
    """
    config, replayed = run.config, labelled(run, name)
    popularity = world.dataset.popularity()

    def make(values: Mapping[str, Any]) -> Agent:
        return make_agent(name, replaced(config, values), judge.params, popularity, replayed)

    return adapt(
        world.env,
        world.of(ONLINE),
        judge.of(SPLITS.index(config.evaluation.users)),
        numbered(make, numbers) if numbers else make({}),
        stream(root_key(run), "adapt"),
        config.num_seeds,
        how,
        config.evaluation,
        start,
        name,
        groups_of(world.dataset),
        checkpoints,
        watch,
        config.devices,
    )


def labelled(run: Run, name: str) -> Transition | None:
    """The labelled transitions, for the agents that replay them."""
    if not registry.record(name).replays_labels:
        return None
    return imagine.labelled_transitions(store.load(run.folder / "labels")[0])[0]


def pretrained_params(run: Run, world: World, name: str, made: Path | None = None) -> Params | None:
    """The parameters [S, ...] an agent starts from, of the pretrain stage or in ``made``; or None."""
    source, num_items = registry.starts_from(name), world.dataset.catalogue.num_items
    if not source:
        return None
    make = recommender if source == "sasrec" else actor_critic
    history = np.zeros(run.config.simulator.history_length, np.int32)
    one = jax.eval_shape(make(run.config, num_items).init, jax.random.key(0), history)
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((run.config.num_seeds, *leaf.shape), leaf.dtype), one
    )
    folder = made or run.folder / "pretrain" / source
    store.verify(folder)
    return load_params(folder / "params", stacked)

"""Tunes settings by successive halving, with the same budget for every method.

The search tunes the runs of a study that `variants.tuned_in` names. In a trial, an agent is pre-trained and
adapted with one configuration of settings, with tuning seeds. The agent learns on the online users of the
world, and is evaluated only on tuning users. The score is the mean over tuning seeds of

    (auc_return + final_return) / 2

The score rewards both fast learning and a high final return. The score of a fixed policy is its return. The
first round uses fewer env steps than the study. Schedules keep the length that they have in the study. So a
trial of the first round equals the beginning of the same trial in the second round. If the best value of a
setting lies at an end of its list, the search goes on beyond it, see `extended`.

The search logs every trial when it ends, and repeats a trial only if its settings change. If a loss or return
is not finite, the trial gets the score NaN and cannot win.

Source: Jamieson and Talwalkar, AISTATS 2016.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.agents import AGENTS, space_of
from experiments.config import Config
from experiments.run import FINGERPRINT, TEMPERATURE, Run, settings
from experiments.stages import recipes
from experiments.stages.adapt_stage import agent_of, online_task, pretrained_params
from experiments.stages.common import Worlds, forget, saving, say
from experiments.stages.pretrain_stage import checkpoint_fingerprint, pretrained
from experiments.study.configurations import SPACES, Values, beyond, draw, is_usable, simpler_values
from experiments.study.overrides import overridden
from experiments.study.settings import Study
from experiments.study.study_results import pair_key
from experiments.study.trial_log import TrialLog
from experiments.study.variants import variant
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.agents.base import Params
from ialp_jax.claim import RESULTS, claim
from ialp_jax.errors import InputError, NotFiniteError
from ialp_jax.evaluation.metrics import auc_return
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import adapt
from ialp_jax.training.loop import Hooks
from ialp_jax.training.params import save_params

EXTENDED = 3  # the "round" of trials beyond the ends of lists
ReadWorlds = Callable[[], Worlds]


def space_in(world: str, method: str) -> dict[str, Sequence[Any]]:
    """The search space of a method in a run, without the settings that the run fixes, see `variants`."""
    fixed = variant(world).overrides()
    return {path: choices for path, choices in space_of(method).items() if path not in fixed}


def in_order(methods: Sequence[str], config: Config) -> list[str]:
    """The methods, each after its pre-training in a run and after the method that it extends."""

    def depth(name: str) -> int:
        before = {AGENTS[name].extends, registry.starts_from(name, config.agents)} - {"", name}
        return 1 + max(map(depth, before), default=0)

    return sorted(methods, key=depth)


class WorldSearch(NamedTuple):
    """Everything that the trials of one world share.

    Attributes:
      study: settings of the study.
      world: id of the world.
      run: the world's run; trials read its data, simulator and labels, and write only to ``tuning/``.
      worlds: function that returns the training world and the evaluation world.
      log: log of the trials.
    """

    study: Study
    world: str
    run: Run
    worlds: ReadWorlds
    log: TrialLog


def search(study: Study, world: str, run: Run, folder: Path, overwrite: bool, worlds: ReadWorlds) -> None:
    """Tunes every method of a study in one world.

    Writes the log ``<results>/tuning/<world>.csv`` after each trial, and the tuned values
    ``study.tuned_path(world)`` after each method.

    Args:
      study: settings of the study.
      world: id of the world.
      run: the world's run.
      folder: folder of the study.
      overwrite: whether to repeat trials that are already in the log.
      worlds: function that runs the stages before adaptation, and returns the training world and the
        evaluation world; called before the first trial that is not in the log.
    """
    methods = in_order([name for name in study.methods_of(world) if space_in(world, name)], run.config)
    results = study.results_folder(folder)
    claim(results, RESULTS, "--config.results")
    log = TrialLog(results / "tuning" / f"{world}.csv")
    if overwrite:
        log.forget(methods)
    shared = WorldSearch(study, world, run, functools.cache(worlds), log)
    for method in methods:
        chosen, score = halving(shared, method, folder)
        values = study.tuned_values(world, folder)
        store.write_json(study.tuned_path(world, folder), {**values, method: chosen})
        settings_text = ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in chosen.items())
        say(f"search {world} {method}: score {score:.2f} with {settings_text}")


def halving(shared: WorldSearch, method: str, folder: Path) -> tuple[Values, float]:
    """Tries the configurations of one method in two rounds; returns the best configuration and its score."""
    budget, start = shared.study.search, tuning_config(shared.study, shared.world, method, folder)
    simpler = simpler_values(method, shared.study.tuned_values(shared.world, folder))
    tried = draw(space_in(shared.world, method), start, budget.configurations, budget.seed, simpler)
    short, long = (min(n, shared.study.env_steps) for n in (budget.env_steps, budget.final_env_steps))
    first = [trial(shared, method, start, 1, n, values, short) for n, values in enumerate(tried)]
    if math.isnan(first[0]):
        say(f"search {shared.world} {method}: the default gave a loss or return that is not finite")
    finalists = _best(first)[: budget.finalists]
    last = [trial(shared, method, start, 2, n, tried[n], long) for n in finalists]
    if all(map(math.isnan, last)):
        raise InputError(
            f"search {shared.world} {method}: no configuration stays finite; lower the learning rates in "
            f"its space in {SPACES}"
        )
    best = _best(last)[0]
    chosen, score = extended(shared, method, start, tried, finalists[best], last[best])
    shared.log.keep_used(method)
    return chosen, score


def extended(
    shared: WorldSearch, method: str, start: Config, tried: Sequence[Values], best: int, score: float
) -> tuple[Values, float]:
    """Goes on beyond the ends of lists at which the best values lie, as long as the score rises.

    It changes one setting after the other, and compares scores after ``search.final_env_steps``.

    Args:
      shared: everything that the trials of the world share.
      method: agent id.
      start: configuration before the trial values are set, see `tuning_config`.
      tried: the configurations of the first round.
      best: position of the best one.
      score: its score in the second round.

    Returns:
      The best configuration and its score.
    """
    budget, chosen, number = shared.study.search, tried[best], len(tried)
    long = min(budget.final_env_steps, shared.study.env_steps)
    for path, choices in space_in(shared.world, method).items():
        for _ in range(budget.extensions):
            further = beyond(choices, chosen[path])
            values = chosen | {path: further}
            if further is None or not is_usable(start, values):
                break
            result = trial(shared, method, start, EXTENDED, number, values, long)
            number += 1
            if not result > score:  # also if it is NaN
                break
            chosen, score = values, result
    return chosen, score


def _best(scores: Sequence[float]) -> list[int]:
    """Indices of scores, highest first and NaN last; ties keep their order."""
    return sorted(range(len(scores)), key=lambda n: math.inf if math.isnan(scores[n]) else -scores[n])


def tuning_config(study: Study, world: str, method: str, folder: Path) -> Config:
    """The configuration of a method's trials (tuning seeds and users) before the trial values are set."""
    config, tuned = study.run_config(world), study.tuned_values(world, folder)
    for source in registry.PRETRAININGS:  # a trial may change the pre-training from which the method starts
        if source != method:
            config = overridden(config, tuned.get(source, {}), str(study.tuned_path(world, folder)))
    config.seed, config.num_seeds = study.search.seed, study.search.num_seeds
    config.evaluation.users, config.evaluation.points = "tuning", study.search.points
    config.evaluation.episodes = config.evaluation.ends = study.search.episodes
    return config


def trial(
    shared: WorldSearch, method: str, start: Config, number: int, index: int, values: Values, env_steps: int
) -> float:
    """The score of one configuration after ``env_steps``, taken from the log if it is recorded there.

    Args:
      shared: everything that the trials of the world share.
      method: agent id.
      start: configuration before the trial values are set, see `tuning_config`.
      number: round, 1 or 2, or `EXTENDED`.
      index: position of the configuration in the result of `draw`.
      values: path -> value of the method's settings.
      env_steps: length of the adaptation.
    """
    run = Run(shared.run.folder, overridden(start, values, SPACES))
    key = store.fingerprint([pair_key(settings(run.config), method), env_steps])[:16]
    shared.log.used.add((key, number))
    logged = shared.log.of(key, number)
    if logged.empty:
        about = {"world": shared.world, "method": method, "round": number, "env_steps": env_steps, "key": key}
        about |= {"configuration": index, "values": json.dumps(values)}
        # If both rounds are equally long, the second one reuses the rows of the first one.
        logged_rounds = [shared.log.of(key, other) for other in (1, 2)]
        rows = next((rows.to_dict("records") for rows in logged_rounds if len(rows)), None)
        if rows is None:
            rows = measured(run, method, shared.worlds, env_steps, key, numbers_of(values))
        shared.log.add([row | about for row in rows])
        logged = shared.log.of(key, number)
    return float(logged.score.mean(skipna=False))


def numbers_of(values: Values) -> dict[str, float]:
    """The agent's float settings that affect no array shape; new values of them need no new compilation."""
    return {
        path: value
        for path, value in values.items()
        if path.startswith("agents.") and type(value) is float and not registry.shapes_arrays(path)
    }


def measured(
    run: Run, method: str, worlds: ReadWorlds, env_steps: int, key: str, numbers: Mapping[str, float]
) -> list[dict[str, float]]:
    """Trains and evaluates one configuration with fingerprint ``key``; returns a log row per seed."""
    run_worlds, began = worlds(), time.perf_counter()
    adapt_config = dataclasses.replace(run.config.adapt, env_steps=env_steps)
    seeds = range(run.config.num_seeds)
    with saving(run, f"search/{method}-{key}", key) as checkpoints:
        try:
            start = tuning_params(run, run_worlds.training, method)
            task = online_task(run, run_worlds, adapt_config)
            agent = agent_of(run, method, run_worlds, numbers)
            curves = adapt(task, agent, start, method, Hooks(checkpoints))
            columns = scores(curves["env_steps"], np.asarray(curves["return"], np.float64))
        except NotFiniteError as error:
            say(f"search {method}: {error}")
            columns = {"score": np.full(len(seeds), np.nan)}
        if checkpoints:
            checkpoints.remove()
    seconds = (time.perf_counter() - began) / len(seeds)
    return [
        {name: float(v[seed]) for name, v in columns.items()} | {"seed": seed, "seconds": seconds}
        for seed in seeds
    ]


def scores(env_steps: np.ndarray, returns: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of a trial and its score, [S] each, from env steps [E] and returns [S, E]."""
    area, final = auc_return(env_steps, returns), returns[:, -1]
    return {
        "initial_return": returns[:, 0],
        "final_return": final,
        "auc_return": area,
        "score": (area + final) / 2,
    }


def tuning_params(run: Run, world: World, method: str) -> Params | None:
    """The pre-trained parameters of a method, from tuning seeds; None if the method starts from scratch.

    They are stored in ``tuning/<source>-<fingerprint>/``, with the temperature that was chosen for them.
    """
    source = registry.starts_from(method, run.config.agents)
    if not source:
        return None
    fingerprint = recipes.fingerprint(run, f"pretrain/{source}")
    folder = run.folder / "tuning" / f"{source}-{fingerprint[:16]}"
    if store.read_manifest(folder) is None:
        with (
            saving(
                run, f"search/{folder.name}", checkpoint_fingerprint(run, fingerprint), every=1
            ) as checkpoints,
            store.replacing(folder) as partial,
        ):
            result = pretrained(run, world, source, Hooks(checkpoints))
            save_params(partial / "params", result.params)
            store.seal(partial, {FINGERPRINT: fingerprint, TEMPERATURE: result.temperature})
            if checkpoints:
                checkpoints.remove()
    forget(run, f"search/{folder.name}")
    return pretrained_params(run, world, method, folder)

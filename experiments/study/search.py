"""Choosing settings: successive halving, the same budget for every method (Jamieson and Talwalkar 2016).

Every configuration adapts on the online users of the world with tuning seeds, from parameters pre-trained
with tuning seeds, and is judged by tuning users alone. The score is the mean over tuning seeds of

    (auc_return + final_return) / 2

so that both how fast and how far a policy comes count; a policy that does not learn has its return. The
first round gives each configuration fewer env steps than the study does; a schedule that spans all of the
adaptation is as long as the study's there too: the first round is the beginning of the second.

Every trial is logged as it ends, and never run again while its settings stay the same; a trial that ends in
numbers that are not finite scores NaN and loses.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import qmc

from experiments.agents import space_of
from experiments.config import Config
from experiments.run import FINGERPRINT, Run, settings
from experiments.stages import recipes
from experiments.stages.adapt_stage import agent_of, online_task, pretrained_params
from experiments.stages.common import Worlds, forget, saving, say
from experiments.stages.pretrain_stage import checkpoint_fingerprint, pretrained
from experiments.study.overrides import overridden, value_at
from experiments.study.settings import Study
from experiments.study.study_results import pair_key
from ialp_jax import keys, store
from ialp_jax.agents import registry
from ialp_jax.agents.base import Params
from ialp_jax.claim import RESULTS, claim
from ialp_jax.errors import InputError, NotFiniteError
from ialp_jax.evaluation.metrics import auc_return
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import adapt
from ialp_jax.training.loop import Hooks
from ialp_jax.training.params import save_params

SPACES = "experiments/agents.py"  # file of the search spaces, for messages
LOG_COLUMNS = [
    *("world", "method", "round", "env_steps", "configuration", "values", "seed"),
    *("initial_return", "final_return", "auc_return", "score", "seconds", "key"),
]
Values = dict[str, Any]
ReadWorlds = Callable[[], Worlds]


def draw(space: Mapping[str, Sequence[Any]], default: Config, count: int, seed: int) -> list[Values]:
    """Configurations of a space, all different, the default first.

    The others are points of a scrambled Sobol sequence over the lists, so that few of them spread well.
    Combinations that the agents' settings refuse are left out.

    Args:
      space: path -> values.
      default: gives the first configuration, whether or not its values stand in the lists.
      count: how many; fewer where the space has no more.
      seed: same seed, same draws.
    """
    chosen = [{path: value_at(default, path) for path in space}]
    sobol = qmc.Sobol(len(space), rng=keys.generator(seed, "search"))
    combinations = (dict(zip(space, values, strict=True)) for values in itertools.product(*space.values()))
    usable = [values for values in combinations if _is_usable(default, values)]
    wanted = min(count, len(usable) + (chosen[0] not in usable))
    while len(chosen) < wanted:
        for point in sobol.random(8):
            places = [int(part * len(values)) for part, values in zip(point, space.values(), strict=True)]
            drawn = {p: values[i] for i, (p, values) in zip(places, space.items(), strict=True)}
            if drawn in usable and drawn not in chosen and len(chosen) < wanted:
                chosen.append(drawn)
    return chosen


def _is_usable(default: Config, values: Values) -> bool:
    """Whether the agents' settings are possible with these values in place of the default's."""
    try:
        overridden(default, values, SPACES).agents.check()
    except InputError:
        return False
    return True


class Log:
    """The trials of one world as a table on disk, `LOG_COLUMNS`; written whole after each of them."""

    def __init__(self, path: Path) -> None:
        """Reads what is there. Raises InputError where it is no log."""
        self.path, self.rows = path, pd.DataFrame(columns=LOG_COLUMNS)
        self.asked: set[tuple[str, int]] = set()  # keys and rounds
        if path.is_file():
            try:
                self.rows = pd.read_csv(path, dtype={"key": str, "values": str})[LOG_COLUMNS]
            except (ValueError, KeyError) as error:
                raise InputError(f"{path}: not a log of trials ({error}); remove it") from None

    def of(self, key: str, number: int) -> pd.DataFrame:
        """The rows of a trial in a round, one per seed; none where it was not finished."""
        return self.rows[(self.rows.key == key) & (self.rows["round"] == number)]

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Adds a finished trial, in place of what the same round and configuration had before."""
        new = pd.DataFrame(rows, columns=LOG_COLUMNS)
        stale = np.ones(len(self.rows), bool)
        for name in ("world", "method", "round", "configuration"):
            stale &= (self.rows[name] == rows[0][name]).to_numpy(bool)
        left = self.rows[~stale]
        self.rows = pd.concat([left, new], ignore_index=True) if len(left) else new
        self.write()

    def forget(self, methods: Sequence[str]) -> None:
        """Drops all trials of some methods."""
        self.rows = self.rows[~self.rows.method.isin(methods)]
        self.write()

    def keep_asked(self, method: str) -> None:
        """Drops the trials of a method that nobody asked for: those of another search space."""
        asked = [pair in self.asked for pair in zip(self.rows.key, self.rows["round"], strict=True)]
        self.rows = self.rows[(self.rows.method != method) | np.array(asked, bool)]
        self.write()

    def write(self) -> None:
        """Writes the table."""
        store.write_text(self.path, self.rows.to_csv(index=False, float_format="%.7g"))


class Bench(NamedTuple):
    """What the trials of one world share.

    Attributes:
      study: its settings.
      world: id.
      run: of the world: its data, simulator and labels are read, nothing is written but ``tuning/``.
      worlds: returns the training world and the evaluation world.
      log: of the trials.
    """

    study: Study
    world: str
    run: Run
    worlds: ReadWorlds
    log: Log


def search(study: Study, world: str, run: Run, folder: Path, overwrite: bool, worlds: ReadWorlds) -> None:
    """Chooses the settings of every method of a study in one world.

    Writes the log ``<results>/tuning/<world>.csv`` trial by trial, and the chosen values
    ``study.tuned_path(world)`` method by method.

    Args:
      study: its settings.
      world: id.
      run: of the world.
      folder: of the study.
      overwrite: whether all trials of these methods are made anew.
      worlds: called before the first trial that the log does not have; does the stages before adaptation.
    """
    methods = [name for name in study.methods_of(world) if space_of(name)]
    # What others start from comes first: they start from what was chosen.
    methods.sort(key=lambda name: name not in registry.PRETRAININGS)
    results = study.results_folder(folder)
    claim(results, RESULTS, "--config.results")
    log = Log(results / "tuning" / f"{world}.csv")
    if overwrite:
        log.forget(methods)
    bench = Bench(study, world, run, functools.cache(worlds), log)
    for method in methods:
        chosen, score = halving(bench, method, folder)
        values = study.tuned_values(world, folder)
        store.write_json(study.tuned_path(world, folder), {**values, method: chosen})
        told = ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in chosen.items())
        say(f"search {world} {method}: score {score:.2f} with {told}")


def halving(bench: Bench, method: str, folder: Path) -> tuple[Values, float]:
    """Tries the configurations of one method; returns the best one and its score."""
    budget, start = bench.study.search, tuning_config(bench.study, bench.world, method, folder)
    tried = draw(space_of(method), start, budget.configurations, budget.seed)
    short, long = (min(n, bench.study.env_steps) for n in (budget.env_steps, budget.final_env_steps))
    first = [trial(bench, method, start, 1, n, values, short) for n, values in enumerate(tried)]
    if math.isnan(first[0]):
        say(f"search {bench.world} {method}: the default did not stay finite")
    finalists = _best(first)[: budget.finalists]
    last = [trial(bench, method, start, 2, n, tried[n], long) for n in finalists]
    if all(map(math.isnan, last)):
        raise InputError(
            f"search {bench.world} {method}: no configuration stays finite; lower the learning rates in "
            f"its space in {SPACES}"
        )
    best = _best(last)[0]
    bench.log.keep_asked(method)
    return tried[finalists[best]], last[best]


def _best(scores: Sequence[float]) -> list[int]:
    """Places by score, highest first, NaN last, the earlier first among equals."""
    return sorted(range(len(scores)), key=lambda n: math.inf if math.isnan(scores[n]) else -scores[n])


def tuning_config(study: Study, world: str, method: str, folder: Path) -> Config:
    """The configuration of a method's trials before its own values: tuning seeds, tuning users."""
    config, source = study.run_config(world), registry.starts_from(method)
    if source != method:
        values = study.tuned_values(world, folder).get(source, {})
        config = overridden(config, values, str(study.tuned_path(world, folder)))
    config.seed, config.num_seeds = study.search.seed, study.search.num_seeds
    config.evaluation.users, config.evaluation.points = "tuning", study.search.points
    config.evaluation.episodes = study.search.episodes
    return config


def trial(
    bench: Bench, method: str, start: Config, number: int, place: int, values: Values, env_steps: int
) -> float:
    """The score of one configuration after ``env_steps``, from the log where it stands there."""
    run = Run(bench.run.folder, overridden(start, values, SPACES))
    key = store.fingerprint([pair_key(settings(run.config), method), env_steps])[:16]
    bench.log.asked.add((key, number))
    logged = bench.log.of(key, number)
    if logged.empty:
        about = {"world": bench.world, "method": method, "round": number, "env_steps": env_steps, "key": key}
        about |= {"configuration": place, "values": json.dumps(values)}
        # A first round that is as long as the last is not run twice.
        known = [bench.log.of(key, other) for other in (1, 2)]
        rows = next((rows.to_dict("records") for rows in known if len(rows)), None)
        if rows is None:
            rows = measured(run, method, bench.worlds, env_steps, key, numbers_of(values))
        bench.log.add([row | about for row in rows])
        logged = bench.log.of(key, number)
    return float(logged.score.mean(skipna=False))


def numbers_of(values: Values) -> dict[str, float]:
    """Those values that one compiled program serves whatever they are: an agent's numbers, but for shapes."""
    return {
        path: value
        for path, value in values.items()
        if path.startswith("agents.") and type(value) is float and not registry.shapes_arrays(path)
    }


def measured(
    run: Run, method: str, worlds: ReadWorlds, env_steps: int, key: str, numbers: Mapping[str, float]
) -> list[dict[str, float]]:
    """Trains and judges one configuration, known by ``key``; returns what the log says of each seed."""
    both, began = worlds(), time.perf_counter()
    adapt_config = dataclasses.replace(run.config.adapt, env_steps=env_steps)
    seeds = range(run.config.num_seeds)
    with saving(run, f"search/{method}-{key}", key) as checkpoints:
        try:
            start = tuning_params(run, both.training, method)
            task, agent = online_task(run, both, adapt_config), agent_of(run, method, both, numbers)
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
    """What a trial is judged by, [S] each, from env steps [E] and returns [S, E]."""
    area, final = auc_return(env_steps, returns), returns[:, -1]
    return {
        "initial_return": returns[:, 0],
        "final_return": final,
        "auc_return": area,
        "score": (area + final) / 2,
    }


def tuning_params(run: Run, world: World, method: str) -> Params | None:
    """What a method starts from, pre-trained with tuning seeds; kept in ``tuning/<source>-<digest>/``."""
    source = registry.starts_from(method)
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
            save_params(partial / "params", pretrained(run, world, source, Hooks(checkpoints))[0])
            store.seal(partial, {FINGERPRINT: fingerprint})
            if checkpoints:
                checkpoints.remove()
    forget(run, f"search/{folder.name}")
    return pretrained_params(run, world, method, folder)

"""The table of starts: returns of pre-trained policies before adaptation, and returns of adapted agents.

A pre-trained policy acts in three ways (column ``decoding``): ``tuned`` at the temperature that was chosen on
tuning users, ``sampled`` at temperature 1, and ``argmax``. All policies play the same sessions with all
evaluation users. Only policies of equal decoding are compared.

Intervals cover runs (pairs of a seed and a set of labels) and users, see `statistics.crossed`. Policies that
use no labels count once for each set of labels. The area under the curve, and the drop below the first point
as a share of it, have an interval over runs only, because curves store no users.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from experiments.config import Config, names_in
from experiments.make_agent import actor_critic, recommender
from experiments.reporting.run_results import read_agent
from experiments.run import Run, settings
from experiments.stages.adapt_stage import agent_of, online_task, raw_params, temperature_in
from experiments.stages.common import Worlds, read_worlds, say
from experiments.study.settings import Study
from experiments.study.variants import LITERAL_METHODS, Variant
from experiments.study.verdicts import drop, ratio
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.agents.base import Agent, AgentState, frozen_state
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.registry import ON_LABELS, PRETRAININGS
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.claim import check_replaceable
from ialp_jax.evaluation import statistics
from ialp_jax.labelling.label_files import catalogue_facts
from ialp_jax.networks.heads import tempered
from ialp_jax.training import kept
from ialp_jax.training.rollout import Episodes
from ialp_jax.training.seeds import over_seeds, seed_keys
from ialp_jax.training.sessions import batches_of, player

TUNED, SAMPLED, ARGMAX = "tuned", "sampled", "argmax"
RIVAL = "sasrec"
LITERAL = "paper_literal"
COLUMNS = [
    *("world", "agent", "source", "temperature", "decoding", "metric", "mean", "ci_low", "ci_high"),
    *("ratio_to_sasrec", "ratio_ci_low", "ratio_ci_high", "num_seeds", "num_label_sets"),
]
Table = np.ndarray  # float64 [R, U]: mean return of each user in each run
Opened = Callable[[Variant], tuple[Run, Worlds]]


class Policy(NamedTuple):
    """A policy with rows in the table.

    Attributes:
      name: in the table.
      agent: id of the agent.
      source: label source, or ``logs``.
      variants: the runs, one for each set of labels; one run if the agent needs no labels.
    """

    name: str
    agent: str
    source: str
    variants: tuple[Variant, ...]


def write_starts(study: Study, folder: Path) -> None:
    """Plays all policies of a finished study, and writes the table to ``study.starts``."""
    path = Path(study.starts)
    check_replaceable(path, ",".join(COLUMNS), "--config.starts")
    rows = [row for world in names_in(study.worlds) for row in rows_of(study, world, folder)]
    store.write_text(path, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.6g"))
    say(f"starts: {path}")


def rows_of(study: Study, world: str, folder: Path) -> list[tuple[Any, ...]]:
    """The rows of one world: starts, then final returns and areas of the agents that learn."""
    runs: dict[str, tuple[Run, Worlds]] = {}

    def opened(known: Variant) -> tuple[Run, Worlds]:
        if known.id() not in runs:
            run = Run(folder / known.id(), study.tuned_config(known.id(), folder))
            runs[known.id()] = run, read_worlds(run)
        return runs[known.id()]

    first, rows = opened(Variant(world))[0], []
    policies = policies_of(study, world, first.config)
    for decoding in (TUNED, SAMPLED, ARGMAX):
        tables: dict[Policy, Table] = {}
        for policy in policies:
            played = [start_returns(*opened(known), policy.agent, decoding) for known in policy.variants]
            tables[policy] = np.concatenate(played * (study.label_sets // len(played)))
        rival = next((table for policy, table in tables.items() if policy.name == RIVAL), None)
        for policy, table in tables.items():
            folders = [folder / known.id() / "pretrain" / policy.agent for known in policy.variants]
            heat = float(np.mean([temperature_in(part) for part in folders]))
            shown = {TUNED: heat, SAMPLED: 1.0, ARGMAX: 0.0}[decoding]
            key = (world, policy.name, policy.source, shown, decoding, "initial_return")
            rows.append((*key, *compared(table, rival), first.config.num_seeds, study.label_sets))
        if rival is not None and decoding == TUNED:
            learners = learners_of(study, world, first.config)
            rows += [row for learner in learners for row in final_rows(study, learner, opened, rival)]
    return rows


def policies_of(study: Study, world: str, config: Config) -> list[Policy]:
    """The pre-trained policies of one world; ``config`` is that of its first run."""
    found = []
    for name in (name for name in PRETRAININGS if name in names_in(study.methods)):
        sources = ["", *names_in(study.sources)] if name == "ialp_soft" else [""]
        sets = range(study.label_sets if name in ON_LABELS else 1)
        for source in sources:
            origin = (source or config.labelling.source) if name in ON_LABELS else "logs"
            variants = tuple(Variant(world, source=source, label_set=number) for number in sets)
            found.append(Policy(name, name, origin, variants))
    if literal := literals(study, world):
        found.append(Policy(LITERAL, "ialp", config.labelling.source, literal))
    return found


def learners_of(study: Study, world: str, config: Config) -> list[Policy]:
    """The agents of one world that learn from a pre-trained policy, see `policies_of`."""
    found, literal = [], literals(study, world)
    for name in names_in(study.methods):
        if not (registry.learns(name) and registry.starts_from(name, config.agents)):
            continue
        needs = registry.needs_labels(name, config.agents)
        sets = range(study.label_sets if needs else 1)
        variants = tuple(Variant(world, label_set=number) for number in sets)
        found.append(Policy(name, name, config.labelling.source if needs else "logs", variants))
        if literal and name in LITERAL_METHODS:
            found.append(Policy(f"{LITERAL}:{name}", name, config.labelling.source, literal))
    return found


def literals(study: Study, world: str) -> tuple[Variant, ...]:
    """The runs of a world that read the paper literally, one for each set of labels."""
    sets = range(study.label_sets) if world in names_in(study.literal) else ()
    return tuple(Variant(world, label_set=number, literal=True) for number in sets)


def final_rows(study: Study, learner: Policy, opened: Opened, rival: Table) -> list[tuple[Any, ...]]:
    """The rows of an agent that learns: return after the last step, area under the curve, and `drop`.

    The temperature is the one at which the agent starts.
    """
    name, runs = learner.agent, [opened(known) for known in learner.variants]
    copies = study.label_sets // len(runs)
    table = np.concatenate([final_returns(run, worlds, name) for run, worlds in runs] * copies)
    config = runs[0][0].config
    start = registry.starts_from(name, config.agents)
    heat = float(np.mean([temperature_in(run.folder / "pretrain" / start) for run, _ in runs]))
    heat *= getattr(getattr(config.agents, name), "temperature_factor", 1.0)
    about = (config.num_seeds, study.label_sets)
    key = (learner.variants[0].base, learner.name, learner.source, heat, TUNED)
    read = [read_agent(run.folder / "adapt" / name, settings(run.config)["agents"]) for run, _ in runs]
    area = np.concatenate([one.metrics["auc_return"] for one in read] * copies)
    fallen = statistics.compared(drop, np.concatenate([one.curves["return"] for one in read] * copies))
    mean, effect = statistics.estimate(area), statistics.compared(ratio, area, rival.mean(1))
    return [
        (*key, "final_return", *compared(table, rival), *about),
        (*key, "auc_return", *map(float, mean), *map(float, effect), *about),
        (*key, "drop", *map(float, fallen), *[np.nan] * 3, *about),
    ]


def compared(table: Table, rival: Table | None) -> tuple[float, ...]:
    """Mean and ratio to SASRec, each with its interval; the ratio is NaN without SASRec."""
    mean = statistics.crossed(lambda one: one, table)
    effect = (np.nan, np.nan, np.nan) if rival is None else statistics.crossed(np.divide, table, rival)
    return *map(float, mean), *map(float, effect)


def start_returns(run: Run, worlds: Worlds, name: str, decoding: str) -> Table:
    """The returns of a pre-trained policy, float64 [S, U]."""
    config, num_items = run.config, worlds.training.dataset.catalogue.num_items
    params = raw_params(run, num_items, name, run.folder / "pretrain" / name)
    if decoding == TUNED:
        params = tempered(params, temperature_in(run.folder / "pretrain" / name))
    agent = sasrec(recommender(config, num_items)) if name == RIVAL else ialp(actor_critic(config, num_items))
    return returns_by_user(run, worlds, agent, jax.vmap(frozen_state)(params), decoding == ARGMAX)


def final_returns(run: Run, worlds: Worlds, name: str) -> Table:
    """The returns of an agent after its last step, float64 [S, U]."""
    agent, world = agent_of(run, name, worlds), worlds.evaluation
    facts = catalogue_facts(worlds.training.dataset)
    states = kept.load(run.folder / "adapt" / name, name, agent, world.env, world.params, facts)
    return returns_by_user(run, worlds, agent, states, greedy=False)


def returns_by_user(run: Run, worlds: Worlds, agent: Agent, states: AgentState, greedy: bool) -> Table:
    """Lets S policies play the sessions of a last evaluation; mean return of each user, float64 [S, U]."""
    task = online_task(run, worlds)
    sizes = dataclasses.replace(task.evaluation_config, greedy=greedy)
    keys = seed_keys(task.key, task.num_seeds)
    play_seed = player(task.env, agent, task.key, sizes)
    play = over_seeds(play_seed, task.adapt_config.seeds_by, shared=2)
    episodes = batches_of(
        lambda number: play(task.evaluation, number, states, keys), sizes.at_ends, sizes.episodes
    )
    return by_user(episodes)


def by_user(episodes: Episodes) -> Table:
    """The mean return of each user who has a session, float64 [S, U]; all seeds have the same users."""
    users, index = np.unique(np.asarray(episodes.user)[0], return_inverse=True)
    count = np.bincount(index, minlength=len(users))
    totals = np.asarray(episodes.total, np.float64)
    return np.stack([np.bincount(index, weights=row, minlength=len(users)) / count for row in totals])

"""Stores the settings and curves of a study. All tables and figures are made from these files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.provenance import environment
from experiments.reporting.report import CURVE_COLUMNS, curves_table
from experiments.reporting.run_results import read_agent
from experiments.run import TEMPERATURE, UNSEEN, Run, difference, settings
from experiments.stages.recipes import LEARNING, pretraining_settings
from experiments.study.settings import Study
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.errors import InputError
from ialp_jax.evaluation.metrics import CURVES, curve_metrics

# Settings that do not affect the results of a pair, for example paths and the selection of methods.
_SCOPE = (
    *("name", "worlds", "not_offline", "literal", "label_sets", "sources", "methods"),
    *("data_root", "results", "tuned", "starts", "readme", "search"),
    *UNSEEN,
)
_PARTS = ("study", "worlds", "pairs")  # required keys of config.json


class Pair(NamedTuple):
    """One method in one world.

    Attributes:
      env_steps: int64 [E].
      curves: metric -> float64 [S, E].
      metrics: metric -> float64 [S]: the metrics of `curve_metrics`, and ``final_return/<group>`` for each
        group of users.
      start: the pre-training from which the method starts; empty if it starts from scratch.
      temperature: temperature of the policy from which it starts; NaN if the method starts from scratch, or
        if no temperature is recorded.
    """

    env_steps: np.ndarray
    curves: dict[str, np.ndarray]
    metrics: dict[str, np.ndarray]
    start: str = ""
    temperature: float = float("nan")


class StudyResults(NamedTuple):
    """The content of ``config.json`` and ``curves.csv``; ``pairs`` maps world -> agent id -> pair."""

    config: dict[str, Any]
    pairs: dict[str, dict[str, Pair]]


def identity(study: Study) -> dict[str, Any]:
    """The settings that all results of a study share."""
    return {name: value for name, value in dataclasses.asdict(study).items() if name not in _SCOPE}


def pair_key(tree: dict[str, Any], agent: str) -> str:
    """Fingerprint of the settings of a run that affect one agent's results."""
    shared = ("seed", "num_seeds", "simulator", "network", "evaluation")
    parts = [agent, [tree[name] for name in shared], tree["adapt"]["env_steps"]]
    parts += [{name: value for name, value in tree["data"].items() if name not in ("root", "download")}]
    parts += [tree["agents"].get(agent, {}) if registry.learns(agent) else {}]
    if source := registry.starts_from(agent, tree["agents"]):
        parts += [source, pretraining_settings(tree, source)]
    if registry.needs_labels(agent, tree["agents"]):
        learning = {name: tree["pretrain"][name] for name in LEARNING}
        parts += [tree["labelling"], tree["llm"], tree["agents"]["ialp"], learning]
    parts += [tree["environment"]] if "environment" in tree else []
    return store.fingerprint(parts)


def read_config(folder: Path) -> dict[str, Any] | None:
    """Reads ``config.json`` of the results; None if the file is missing. A broken file is an InputError."""
    path = folder / "config.json"
    config = store.read_json(path)
    if config is None:
        return None
    if not all(isinstance(config.get(part), dict) for part in _PARTS):
        raise InputError(f"{path}: not the settings of a study; give another --config.results")
    for world, agents in config["pairs"].items():
        records = agents.values() if isinstance(agents, dict) else [None]
        if not all(isinstance(record, dict) and {"key", "tuned"} <= record.keys() for record in records):
            raise InputError(
                f"{path}: the entries of {world} are not pairs of a study; give another --config.results"
            )
    return config


def guard(study: Study, folder: Path, overwrite: bool) -> None:
    """Refuses to replace the results of a study that has other settings.

    With ``overwrite``, deletes these results instead. `collect` then writes new results, pair by pair.

    Raises:
      InputError: the results have other settings and ``overwrite`` is false.
    """
    results = study.results_folder(folder)
    config = read_config(results)
    changes = difference(config["study"], identity(study)) if config else ""
    if changes and not overwrite:
        raise InputError(
            f"{results} contains a study with other settings ({changes}); "
            "give another --config.results, or --redo to replace it"
        )
    if changes:
        (results / "config.json").unlink()
        (results / "curves.csv").unlink(missing_ok=True)


def missing(study: Study, folder: Path, run: Run) -> list[str]:
    """The methods whose results in one world are missing or were made with other settings.

    The function reads only the results, not the run folder. So a fresh clone, which has no run folder, reuses
    the committed results.
    """
    config, world = read_config(study.results_folder(folder)), run.folder.name
    records = config["pairs"].get(world, {}) if config else {}
    tree, tuned = settings(run.config), study.tuned_values(world, folder)

    def is_done(name: str) -> bool:
        record = records.get(name)
        return bool(record) and (record["key"], record["tuned"]) == (pair_key(tree, name), tuned.get(name))

    return [name for name in study.methods_of(world) if not is_done(name)]


def collect(study: Study, folder: Path, run: Run, agent: str, tuned: dict[str, dict[str, Any]]) -> None:
    """Adds one pair, a finished method in one world, to the results.

    Also deletes older pairs of this world that were made with settings other than the run's present ones.

    Args:
      study: settings of the study.
      folder: folder of the study.
      run: the world's run.
      agent: agent id; its curves are in the run's folder.
      tuned: agent id -> tuned values in this world.
    """
    results, world = study.results_folder(folder), run.folder.name
    config = read_config(results) or {"study": identity(study), "worlds": {}, "pairs": {}}
    tree = settings(run.config)
    tree["data"]["root"] = ""  # differs between machines
    curves = read_agent(run.folder / "adapt" / agent, tree["agents"])
    record = {
        "key": pair_key(tree, agent),
        "arrays": curves.manifest["files"]["arrays.npz"],
        "seconds": curves.manifest["seconds"],
        "tuned": tuned.get(agent),
        "environment": environment(),
    }
    if TEMPERATURE in curves.manifest:
        record[TEMPERATURE] = curves.manifest[TEMPERATURE]
    if registry.needs_labels(agent, run.config.agents):
        record["labels"] = store.read_manifest(run.folder / "labels")["files"]["arrays.npz"]
    old_records = config["pairs"].get(world, {})
    valid_records = {name: old for name, old in old_records.items() if old["key"] == pair_key(tree, name)}
    if valid_records == old_records and _same(valid_records.get(agent), record):
        return
    config["worlds"][world], config["pairs"][world] = tree, {**valid_records, agent: record}
    rows = curves_table(world, {agent: curves})
    table = read_curves(results)
    others = table[(table.world != world) | (table.agent.isin(valid_records.keys() - {agent}))]
    table = pd.concat([others, rows], ignore_index=True) if len(others) else rows
    store.write_text(results / "curves.csv", table.to_csv(index=False, float_format="%.7g"))
    store.write_json(results / "config.json", config)


def _same(old: dict[str, Any] | None, new: dict[str, Any]) -> bool:
    """Whether two records describe the same curves."""
    return old is not None and all(old[name] == new[name] for name in ("key", "arrays", "tuned"))


def read_curves(folder: Path) -> pd.DataFrame:
    """Reads ``curves.csv``; returns an empty table if the file is missing. A broken file is an InputError."""
    path = folder / "curves.csv"
    if not path.is_file():
        return pd.DataFrame(columns=CURVE_COLUMNS)
    try:
        table = pd.read_csv(path)
        table["value"] = table["value"].astype(float)
        return table[CURVE_COLUMNS]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a table with the columns {','.join(CURVE_COLUMNS)} ({error})"
        ) from None


def read_results(folder: Path) -> StudyResults:
    """Reads the results that `collect` wrote.

    Raises:
      InputError: no results exist yet, or a file is broken.
    """
    config = read_config(folder)
    if config is None:
        raise InputError(f"{folder / 'config.json'} is missing; run the study first (--stage=all)")
    table, pairs = read_curves(folder), {}
    for (world, agent), rows in table.groupby(["world", "agent"], sort=False):
        if agent in config["pairs"].get(world, {}):
            settings = config["worlds"].get(world, {}).get("agents", {})
            temperature = float(config["pairs"][world][agent].get(TEMPERATURE, np.nan))
            pair = _pair(rows, folder)._replace(
                start=registry.starts_from(str(agent), settings), temperature=temperature
            )
            pairs.setdefault(str(world), {})[str(agent)] = pair
    for world, agents in config["pairs"].items():
        if missing := agents.keys() - pairs.get(world, {}).keys():
            raise InputError(
                f"{folder / 'curves.csv'}: has no curves of {world}, {min(missing)}; run the study again"
            )
    return StudyResults(config, pairs)


def _pair(rows: pd.DataFrame, folder: Path) -> Pair:
    """Builds a pair from its rows of ``curves.csv``."""
    where = f"{folder / 'curves.csv'}: {rows.world.iloc[0]}, {rows.agent.iloc[0]}"
    try:
        wide = rows.pivot(index=["seed", "env_steps"], columns="metric", values="value")
        steps = np.array(sorted(rows.env_steps.unique()), np.int64)
        curves = {name: wide[name].unstack("env_steps").to_numpy() for name in wide.columns}
        metrics = curve_metrics(steps, {name: curves[name] for name in CURVES})
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: not the curves of an agent ({error})") from None
    groups = {f"final_{name}": curve[:, -1] for name, curve in curves.items() if name.startswith("return/")}
    return Pair(steps, curves, metrics | groups)

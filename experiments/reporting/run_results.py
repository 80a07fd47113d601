"""Reads and checks the results of a run folder for the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting.styles import ordered
from experiments.run import TEMPERATURE
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.data.files import load_dataset
from ialp_jax.errors import InputError
from ialp_jax.evaluation.metrics import CURVES, SEGMENT_CURVES, curve_metrics
from ialp_jax.labelling.label_files import check_labels

VALIDATION = (
    "reliability_predicted",
    "reliability_observed",
    "reliability_count",
    "popularity_real",
    "popularity_simulated",
    "likes_real",
    "likes_simulated",
)
OPTIONAL = ("audit", "labels", "lora")  # Parts that a report does not need.
AUDIT_TABLE = "labels.csv"  # Name of the audit's table in audit/ and in report/.


@dataclasses.dataclass(frozen=True)
class AgentCurves:
    """One agent's evaluation.

    Attributes:
      env_steps: int64 [E].
      curves: float64 [S, E] for each name in ``CURVES`` and for each user segment.
      metrics: float64 [S] for each name in ``METRICS``.
      manifest: manifest of the folder.
      start: the pre-training from which the agent starts; empty if it starts from scratch.
    """

    env_steps: np.ndarray
    curves: dict[str, np.ndarray]
    metrics: dict[str, np.ndarray]
    manifest: dict[str, Any]
    start: str = ""

    @property
    def temperature(self) -> float:
        """Temperature of the policy from which the agent starts; NaN if it starts from scratch."""
        return float(self.manifest.get(TEMPERATURE, np.nan))

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.curves["return"])


@dataclasses.dataclass(frozen=True)
class AuditResults:
    """The files of the audit stage: table ``labels.csv``, arrays and manifest."""

    table: pd.DataFrame
    arrays: dict[str, np.ndarray]
    manifest: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Results:
    """The input of a report; the results of a skipped stage are None."""

    config: dict[str, Any]
    world: str
    agents: dict[str, AgentCurves]
    worlds: pd.DataFrame
    validation: dict[str, np.ndarray]
    labels: tuple[dict[str, np.ndarray], dict[str, Any]] | None
    pretrain: dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]]
    titles: tuple[str, ...]
    audit: AuditResults | None = None
    lora: dict[str, Any] | None = None
    provenance: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # by part of the run


def _require(arrays: Mapping[str, np.ndarray], names: Iterable[str], folder: Path, stage: str) -> None:
    if absent := [name for name in names if name not in arrays]:
        raise InputError(f"{folder}: the arrays {', '.join(absent)} are missing; run --stage={stage} again")


def read_agent(folder: Path, agents: Mapping[str, Any]) -> AgentCurves:
    """Reads the curves of one agent; ``agents`` holds the settings of all agents, as plain data.

    Raises InputError if the curves are missing or broken.
    """
    arrays, manifest = store.load(folder)
    try:
        steps = arrays["env_steps"]
        names = [*CURVES, *sorted(name for name in arrays if name.startswith(SEGMENT_CURVES))]
        curves = {name: np.asarray(arrays[name], np.float64) for name in names}
        start = registry.starts_from(folder.name, agents)
        return AgentCurves(steps, curves, curve_metrics(steps, curves), manifest, start)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: not the curves of an agent ({error}); run --stage=adapt again") from None


def _read_agents(
    run: Path, agents: Sequence[str] | None, settings: Mapping[str, Any]
) -> dict[str, AgentCurves]:
    if agents is None:
        agents = [path.name for path in (run / "adapt").glob("*") if path.is_dir() and path.name[0] != "."]
    if not agents:
        raise InputError(f"{run / 'adapt'}: has no results of an agent; run --stage=adapt first")
    return {name: read_agent(run / "adapt" / name, settings) for name in ordered(agents)}


def _read_worlds(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; run --stage=simulate first")
    try:
        worlds = pd.read_csv(path)
        worlds["value"] = worlds["value"].astype(float)
        names = set(worlds["metric"])
        for name in (name for name in names if str(name).endswith("_return")):
            if not {f"{name}_ci_low", f"{name}_ci_high"} <= names:
                raise ValueError(f"no interval of {name}")
        return worlds[["world", "metric", "value"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a table with the columns world,metric,value ({error})") from None


def _read_audit(folder: Path) -> AuditResults:
    arrays, manifest = store.load(folder)
    try:
        return AuditResults(pd.read_csv(folder / AUDIT_TABLE), arrays, manifest)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / AUDIT_TABLE}: not a table ({error}); run --stage=audit again") from None


_FIRST = ("data", "simulator")  # parts that every run has


def _later(agents: Iterable[str], sources: Iterable[str]) -> list[str]:
    """Names of the parts that pre-training and adaptation write."""
    return [*(f"pretrain/{name}" for name in sources), *(f"adapt/{name}" for name in agents)]


def _provenance(run: Path, parts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Reads the provenance of some parts from their manifests; leaves out parts without a record."""
    records = {part: (store.read_manifest(run / part) or {}).get("provenance") for part in parts}
    return {part: record for part, record in records.items() if isinstance(record, dict)}


def read_run(run: Path, agents: Sequence[str] | None = None, fits: Collection[str] = OPTIONAL) -> Results:
    """Reads the results of a run folder.

    Args:
      run: the run folder.
      agents: ids of the agents; None for all agents in the folder.
      fits: parts of `OPTIONAL` to read if they exist; other parts may be from earlier settings.

    Raises:
      InputError: a stage is missing (the message names it), or a file is broken.
    """
    config = store.read_json(run / "config.json")
    if config is None:
        raise InputError(f"{run / 'config.json'}: no such file; {run} is not a run folder")
    agent_curves = _read_agents(run, agents, config.get("agents", {}))
    worlds = {str(agent.manifest.get("world", "")) for agent in agent_curves.values()}
    if len(worlds) > 1:
        raise InputError(f"{run / 'adapt'}: mixes the worlds {', '.join(sorted(worlds))}; keep one per run")
    validation = store.read_arrays(run / "simulator" / "validation.npz")
    _require(validation, VALIDATION, run / "simulator", "simulate")

    def exists(part: str) -> bool:
        return part in fits and store.read_manifest(run / part) is not None

    steps = config.get("llm", {}).get("lora", {}).get("steps")  # if 0, a lora folder is from earlier settings
    labels = store.load(run / "labels") if exists("labels") else None
    if labels:
        check_labels(run / "labels", labels[0])
    sources = dict.fromkeys(curves.start for curves in agent_curves.values() if curves.start)
    pretrain_folders = {name: run / "pretrain" / name for name in sources}
    return Results(
        config=config,
        world=worlds.pop(),
        agents=agent_curves,
        worlds=_read_worlds(run / "simulator" / "worlds.csv"),
        validation=validation,
        titles=load_dataset(run / "data").catalogue.titles if store.read_manifest(run / "data") else (),
        audit=_read_audit(run / "audit") if exists("audit") else None,
        lora=store.read_manifest(run / "lora") if steps and exists("lora") else None,
        labels=labels,
        provenance=_provenance(run, [*_FIRST, *filter(exists, OPTIONAL), *_later(agent_curves, sources)]),
        pretrain={
            name: store.load(folder)
            for name, folder in pretrain_folders.items()
            if store.read_manifest(folder)
        },
    )

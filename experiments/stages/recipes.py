"""The settings and files from which each part of a run folder is made.

A part is a folder that a stage writes, as ``labels`` or ``adapt/a2c``. Its manifest records what it was made
from. A part is made again only if one of these settings or files has changed.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from experiments import provenance
from experiments.config import Config
from experiments.run import KEY, Run, flat, llm_settings, settings
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.errors import InputError
from ialp_jax.labelling import tuner

MADE_FROM, SETTINGS, FILES = "made_from", "settings", "files"  # in a manifest
REFERENCES = "references"  # in the simulator's manifest: what the returns of reference policies depend on
ALL = ("",)  # beginnings of file names

LEARNING = ("batch_size", "learning_rate", "target_rate", "updates_per_round", "max_gradient_norm")
NEEDS = {  # what agents start from -> the parts it is made from
    "ialp": ("data", "simulator", "labels"),
    "a2c_warm": ("data", "simulator"),
    "sasrec": ("data", "simulator"),
}
OWN = {"ialp": "ialp_", "a2c_warm": "warm_", "sasrec": "sasrec_"}  # prefix of settings that act only on it
_READ = {"simulator": ("arrays.npz",), "labels": ("arrays.npz",), "pretrain": ("params/",)}  # the rest: ALL


class Recipe(NamedTuple):
    """What a part depends on.

    Attributes:
      stage: the one that makes it.
      settings: value by dotted path.
      reads: the parts whose files it reads.
    """

    stage: str
    settings: dict[str, Any]
    reads: tuple[str, ...]


def recipe(config: Config, part: str) -> Recipe:
    """What a part of the run folder depends on, with these settings."""
    group, _, name = part.partition("/")
    tree = settings(config)
    found = _RECIPES[group](config, tree, name)
    return found._replace(settings=found.settings | _picked(tree, "environment"))  # which may change rounding


def parts(config: Config, stage: str) -> list[str]:
    """The parts that a stage makes with these settings."""
    agents = config.agent_ids()
    sources = {registry.starts_from(name) for name in agents}
    made = {
        "data": ["data"],
        "simulate": ["simulator"],
        "tune": ["tune"] if config.llm.tune.steps else [],
        "label": ["labels"],
        "audit": ["audit"] if config.audit.enabled else [],
        "pretrain": [f"pretrain/{name}" for name in NEEDS if name in sources],
        "adapt": [f"adapt/{name}" for name in agents],
    }
    return made.get(stage, [])


def asks_llm(config: Config) -> bool:
    """Whether labels come from the LLM and not from a source in its place."""
    return config.labelling.source == "llm"


def _picked(tree: dict[str, Any], *paths: str) -> dict[str, Any]:
    """Some settings, as a flat dict; a path may name a whole section."""
    return {
        path: value
        for path, value in flat(tree).items()
        if any(path == wanted or path.startswith(f"{wanted}.") for wanted in paths)
    }


def _tuned(config: Config) -> tuple[str, ...]:
    return ("tune",) if config.llm.tune.steps else ()


def _data(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    return Recipe("data", _picked(tree, "data"), ())


def _simulator(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    return Recipe("simulate", _picked(tree, "simulator.user_model", "simulator.test_model"), ("data",))


def _tune(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    told = _picked(tree, "seed", "simulator.history_length", "labelling.candidates")
    return Recipe("tune", told | flat({"llm": tuner.settings(config.llm)}), ("data",))


def _labels(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    told = _picked(tree, "seed", "simulator", "network", "labelling", "agents.ialp")
    told |= _picked(tree, *(f"pretrain.{name}" for name in LEARNING))
    llm = llm_settings(config)
    if not asks_llm(config):
        # The template and the kind of mode decide which items look alike; no prompt has two of them.
        told |= {"llm.template": llm["template"], "llm.lettered": config.llm.mode != "likelihood"}
        return Recipe("label", told, ("data", "simulator"))
    del told["labelling.none_share"]  # of the other sources
    return Recipe("label", told | flat({"llm": llm}), ("data", "simulator", *_tuned(config)))


def _audit(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    """No simulator, no policy."""
    told = _picked(tree, "audit", "seed", "simulator.history_length")
    return Recipe("audit", told | flat({"llm": llm_settings(config)}), ("data", *_tuned(config)))


def _pretrain(config: Config, tree: dict[str, Any], name: str) -> Recipe:
    """Without ``evaluation``: it fixes the curve of a pre-training, not its policy."""
    told = _picked(tree, "seed", "num_seeds", "simulator", "network", "pretrain", "agents.ialp")
    others = tuple(f"pretrain.{prefix}" for source, prefix in OWN.items() if source != name)
    return Recipe("pretrain", {p: v for p, v in told.items() if not p.startswith(others)}, NEEDS[name])


def _adapt(config: Config, tree: dict[str, Any], name: str) -> Recipe:
    record = registry.record(name)
    section = f"agents.{name}" if record.config else "seed"
    shared = ("seed", "num_seeds", "simulator", "network", "evaluation", "adapt.env_steps")
    start = (f"pretrain/{record.starts_from}",) if record.starts_from else ()
    replayed = ("labels",) if record.replays_labels else ()
    return Recipe("adapt", _picked(tree, *shared, section), ("data", "simulator", *start, *replayed))


_RECIPES = {
    "data": _data,
    "simulator": _simulator,
    "tune": _tune,
    "labels": _labels,
    "audit": _audit,
    "pretrain": _pretrain,
    "adapt": _adapt,
}


def reference_settings(config: Config) -> dict[str, Any]:
    """What the returns of the reference policies depend on, besides the fitted user model."""
    return _picked(settings(config), "seed", "simulator", "evaluation.episodes", "environment")


def files_of(run: Run, part: str) -> dict[str, str] | None:
    """sha256 by name of the files of a part that later parts read; None if the part is missing."""
    manifest = store.read_manifest(run.folder / part)
    if manifest is None:
        return None
    beginnings = _READ.get(part.partition("/")[0], ALL)
    return {f"{part}/{n}": sha for n, sha in manifest["files"].items() if n.startswith(beginnings)}


def made_from(run: Run, part: str) -> dict[str, Any]:
    """The settings and files that a part would be made from now.

    Raises:
      InputError: a part that it reads is missing; names the stage that makes it.
    """
    needed = recipe(run.config, part)
    require_there(run, *needed.reads)
    files = {name: sha for upstream in needed.reads for name, sha in (files_of(run, upstream) or {}).items()}
    return {SETTINGS: needed.settings, FILES: files}


def require_there(run: Run, *parts: str) -> None:
    """Raises InputError if a part is missing; names the stage that makes it."""
    for part in parts:
        if store.read_manifest(run.folder / part) is None:
            stage = recipe(run.config, part).stage
            raise InputError(f"{run.folder / part} is missing; run --stage={stage} first")


def key(run: Run, part: str) -> str:
    """Digest of `made_from`; raises as it does."""
    return store.digest(made_from(run, part))


def stamp(run: Run, part: str, began: float) -> dict[str, Any]:
    """The record of how a part was made, for its manifest; ``began`` by ``time.perf_counter()``."""
    made = made_from(run, part)
    told = {KEY: store.digest(made), MADE_FROM: made}
    if part == "simulator":
        told[REFERENCES] = reference_settings(run.config)
    return told | {"provenance": provenance.record(time.perf_counter() - began)}

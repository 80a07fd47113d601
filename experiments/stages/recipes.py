"""The settings and files from which each part of a run folder is made.

A part is a folder that a stage writes, such as ``labels`` or ``adapt/a2c``. The manifest of a part records
the settings and files from which the part was made. A part is made again only if one of these settings or
files has changed.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from experiments import provenance
from experiments.config import Config
from experiments.run import FINGERPRINT, TEMPERATURE, Run, flat, llm_settings, settings
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.errors import InputError
from ialp_jax.labelling import lora_client
from ialp_jax.labelling.config import LLM, LOG_MODEL, LOGISTIC

MADE_FROM, SETTINGS, FILES = "made_from", "settings", "files"  # Keys in a manifest.
REFERENCES = "references"  # Key for settings of the reference policies in the simulator's manifest.
ALL = ("",)  # The empty prefix, which matches all file names.

LEARNING = ("batch_size", "learning_rate", "target_rate", "updates_per_round", "max_gradient_norm")
NEEDS = {  # source of pre-trained parameters -> the parts that it reads
    "ialp": ("data", "simulator", "labels"),
    "ialp_soft": ("data", "simulator", "labels"),
    "a2c_warm": ("data", "simulator"),
    "sasrec": ("data", "simulator"),
}
# Prefix of the settings of each source, and the section of its loss. sasrec's loss has no settings.
PREFIX = {"ialp": "ialp_", "ialp_soft": "soft_", "a2c_warm": "warm_", "sasrec": "sasrec_"}
LOSS = {"ialp": "agents.ialp", "ialp_soft": "agents.ialp_soft", "a2c_warm": "agents.ialp"}
# Prefixes of the files that later stages read; `ALL` for parts that are not listed.
_READ = {"simulator": ("arrays.npz",), "labels": ("arrays.npz",), "pretrain": ("params/",)}


class Recipe(NamedTuple):
    """The settings and inputs of a part.

    Attributes:
      stage: the stage that makes the part.
      settings: value by dotted path.
      reads: the parts whose files the stage reads.
    """

    stage: str
    settings: dict[str, Any]
    reads: tuple[str, ...]


def recipe(config: Config, part: str) -> Recipe:
    """The recipe of a part of the run folder, for the settings in ``config``."""
    group, _, name = part.partition("/")
    tree = settings(config)
    needed = _RECIPES[group](config, tree, name)
    return needed._replace(settings=needed.settings | _picked(tree, "environment"))  # may change rounding


def parts(config: Config, stage: str) -> list[str]:
    """The parts that a stage makes with the settings in ``config``."""
    agents = config.agent_ids()
    sources = {registry.starts_from(name, config.agents) for name in agents}
    parts_of = {
        "data": ["data"],
        "simulate": ["simulator"],
        "lora": ["lora"] if uses_adapter(config) else [],
        "label": ["labels"],
        "audit": ["audit"] if config.audit.enabled else [],
        "pretrain": [f"pretrain/{name}" for name in NEEDS if name in sources],
        "adapt": [f"adapt/{name}" for name in agents],
    }
    return parts_of.get(stage, [])


def asks_llm(config: Config) -> bool:
    """Whether the LLM is a source of the labels."""
    return LLM in config.labelling.sources()


def uses_adapter(config: Config) -> bool:
    """Whether LoRA is on, and the label stage or the audit uses the LLM."""
    return bool(config.llm.lora.steps) and (asks_llm(config) or config.audit.enabled)


def _picked(tree: dict[str, Any], *paths: str) -> dict[str, Any]:
    """Selects settings by their paths, as a flat dict; a path may name a whole section."""
    return {
        path: value
        for path, value in flat(tree).items()
        if any(path == wanted or path.startswith(f"{wanted}.") for wanted in paths)
    }


def _adapter(config: Config) -> tuple[str, ...]:
    return ("lora",) if config.llm.lora.steps else ()


def _data(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    return Recipe("data", _picked(tree, "data"), ())


def _simulator(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    return Recipe("simulate", _picked(tree, "simulator.user_model", "simulator.test_model"), ("data",))


def _lora(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    read = _picked(tree, "seed", "simulator.history_length", "labelling.candidates", "labelling.label_set")
    return Recipe("lora", read | flat({"llm": lora_client.settings(config.llm)}), ("data",))


def _labels(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    read = _picked(tree, "seed", "simulator", "network", "labelling", "agents.ialp")
    read |= _picked(tree, *(f"pretrain.{name}" for name in LEARNING))
    llm, labelling = llm_settings(config), config.labelling
    if LOG_MODEL in labelling.sources():
        read |= _picked(tree, "pretrain.sasrec_learning_rate", "pretrain.sasrec_updates")
    if asks_llm(config) or labelling.calibration == LOGISTIC:
        del read["labelling.none_share"]  # only uncalibrated labels of other sources use this setting
    if not asks_llm(config):
        # Template and mode decide which items have the same words; a prompt never has two such items.
        read |= {"llm.template": llm["template"], "llm.lettered": config.llm.mode != "likelihood"}
        if LOG_MODEL in labelling.sources() or labelling.calibration == LOGISTIC:
            read["llm.embedded.holdout"] = config.llm.embedded.holdout  # the held-out users
        return Recipe("label", read, ("data", "simulator"))
    return Recipe("label", read | flat({"llm": llm}), ("data", "simulator", *_adapter(config)))


def _audit(config: Config, tree: dict[str, Any], _: str) -> Recipe:
    """The audit needs no simulator and no policy."""
    read = _picked(tree, "audit", "seed", "simulator.history_length", "labelling.label_set")
    return Recipe("audit", read | flat({"llm": llm_settings(config)}), ("data", *_adapter(config)))


def _pretrain(config: Config, tree: dict[str, Any], name: str) -> Recipe:
    """The recipe omits ``evaluation``, which affects the curve of a pre-training but not the parameters."""
    shared = _picked(tree, "seed", "num_seeds", "simulator", "network")
    return Recipe("pretrain", shared | pretraining_settings(tree, name), NEEDS[name])


def pretraining_settings(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings in the sections ``pretrain`` and ``agents`` that affect one pre-training."""
    others = tuple(f"pretrain.{prefix}" for source, prefix in PREFIX.items() if source != name)
    read = _picked(tree, "pretrain", *([LOSS[name]] if name in LOSS else []))
    return {path: value for path, value in read.items() if not path.startswith(others)}


def _adapt(config: Config, tree: dict[str, Any], name: str) -> Recipe:
    record = registry.record(name)
    section = f"agents.{name}" if record.config else "seed"
    shared = ("seed", "num_seeds", "simulator", "network", "evaluation", "adapt.env_steps")
    source = registry.starts_from(name, config.agents)
    start = (f"pretrain/{source}",) if source else ()
    replayed = ("labels",) if record.replays_labels else ()
    return Recipe("adapt", _picked(tree, *shared, section), ("data", "simulator", *start, *replayed))


_RECIPES = {
    "data": _data,
    "simulator": _simulator,
    "lora": _lora,
    "labels": _labels,
    "audit": _audit,
    "pretrain": _pretrain,
    "adapt": _adapt,
}


def reference_settings(config: Config) -> dict[str, Any]:
    """The settings that, together with the fitted user model, determine the reference policies' returns."""
    tree = settings(config)
    return _picked(tree, "seed", "simulator", "evaluation.episodes", "evaluation.ends", "environment")


def files_of(run: Run, part: str) -> dict[str, str] | None:
    """Maps file name to sha256, for the files that later stages read; None if the part is missing.

    Later stages also read the temperature of a pre-training, which is in its manifest.
    """
    manifest = store.read_manifest(run.folder / part)
    if manifest is None:
        return None
    beginnings = _READ.get(part.partition("/")[0], ALL)
    files = {f"{part}/{n}": sha for n, sha in manifest["files"].items() if n.startswith(beginnings)}
    read = {f"{part}/{TEMPERATURE}": str(manifest[TEMPERATURE])} if TEMPERATURE in manifest else {}
    return files | read


def made_from(run: Run, part: str) -> dict[str, Any]:
    """The settings and files from which a part would be made now.

    Raises:
      InputError: an input part is missing; the message names the stage that makes this input.
    """
    needed = recipe(run.config, part)
    require_there(run, *needed.reads)
    files = {name: sha for upstream in needed.reads for name, sha in (files_of(run, upstream) or {}).items()}
    return {SETTINGS: needed.settings, FILES: files}


def require_there(run: Run, *parts: str) -> None:
    """Raises InputError if a part is missing; the message names the stage that makes this part."""
    for part in parts:
        if store.read_manifest(run.folder / part) is None:
            stage = recipe(run.config, part).stage
            raise InputError(f"{run.folder / part} is missing; run --stage={stage} first")


def fingerprint(run: Run, part: str) -> str:
    """Fingerprint of `made_from`; raises the same errors."""
    return store.fingerprint(made_from(run, part))


def stamp(run: Run, part: str, began: float) -> dict[str, Any]:
    """The record of how a part was made, for its manifest; ``began`` is from ``time.perf_counter()``."""
    made = made_from(run, part)
    entries = {FINGERPRINT: store.fingerprint(made), MADE_FROM: made}
    if part == "simulator":
        entries[REFERENCES] = reference_settings(run.config)
    return entries | {"provenance": provenance.record(time.perf_counter() - began)}

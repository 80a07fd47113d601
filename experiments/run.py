"""Manages a run folder: stores the settings, and checks whether parts are complete and up to date."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from experiments.config import Config
from experiments.runtime.jax_environment import numerics
from ialp_jax import store
from ialp_jax.claim import RUN, claim, is_claimed
from ialp_jax.errors import InputError
from ialp_jax.labelling import lora_client
from ialp_jax.llm.prompting import templates
from ialp_jax.simulator.config import resolved

ELSEWHERE = ("store", "workers", "ray_address")  # Settings of the LLM that do not affect labels.
UNSEEN = ("devices", "checkpoint", "tensorboard", "compilation_cache")  # These do not affect results.
MAX_DIFFERENCE = 1000  # Largest length of a difference in a message, in characters.
TEMPERATURE = "temperature"  # Manifest entry of a pre-training, and of an agent that starts from it.
COPIED_FROM = "copied_from"  # Manifest entry of a copied part: the folder of its original.
FINGERPRINT = "fingerprint"  # Manifest entry that identifies the settings and inputs of a part.


def settings(config: Config) -> dict[str, Any]:
    """The settings that affect results, as plain data; the values of the simulator's preset are filled in."""
    tree = dataclasses.asdict(dataclasses.replace(config, simulator=resolved(config.simulator)))
    tree = {name: value for name, value in tree.items() if name not in UNSEEN}
    return tree | ({"environment": rounding} if (rounding := numerics()) else {})


def llm_settings(config: Config) -> dict[str, Any]:
    """The settings of the LLM that affect its answers."""
    llm = dataclasses.asdict(config.llm)
    for name in ELSEWHERE:
        del llm[name]
    lora = {name: value for name, value in llm["lora"].items() if name not in lora_client.IRRELEVANT}
    llm["lora"] = lora if config.llm.lora.steps else {"steps": 0}
    template = templates.choose(config.llm.template, embedded=not config.llm.model)
    return llm | {"template": template.digest()}  # the text in a template file may change


def report_fingerprint(config: Config) -> str:
    """Fingerprint of all settings on which a run depends; the manifest of the report stores it."""
    return store.fingerprint(settings(config) | {"llm": llm_settings(config)})


def fingerprint_in(manifest: Mapping[str, Any]) -> str | None:
    """The fingerprint in a manifest; None if a user has added the part by hand."""
    return manifest.get(FINGERPRINT, manifest.get("key"))  # "key" is its name in earlier versions


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings: maps paths such as ``a.b`` to values."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


def difference(old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str] = ()) -> str:
    """Describes in one line how two sets of settings differ, except at the ``free`` paths."""
    before, after = flat(old), flat(new)
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n) and n not in free)
    return ", ".join(f"{n}: {before.get(n)!r} -> {after.get(n)!r}" for n in names)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
      folder: contains everything that the run writes.
      config: settings of the run.
      overwrite: whether finished work with other settings may be replaced, even if it took a long time.
      free: paths of settings that may change without ``overwrite``.
    """

    folder: Path
    config: Config
    overwrite: bool = False
    free: frozenset[str] = frozenset()

    @classmethod
    def open(cls, folder: Path, config: Config, overwrite: bool, free: Collection[str] = ()) -> Run:
        """Opens or makes a run folder.

        If the folder contains a part, this function does not change the stored settings.
        `experiments.stages.redo` replaces them later, after a check that no work is lost.

        Raises:
          InputError: the folder cannot be written, or its settings cannot be read.
        """
        path = folder / "config.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A folder without parts has no work to protect. For example, the first command may have failed
            # because a data file was missing.
            has_parts = any(part.is_dir() and any(part.iterdir()) for part in folder.glob("*"))
            if store.read_json(path) is None or not has_parts:
                store.write_json(path, settings(config))
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
        return cls(folder, config, overwrite, frozenset(free))

    def is_done(self, folder: str, fingerprint: str) -> bool:
        """Whether a part is complete and was made from the same inputs and settings."""
        path = self.folder / folder
        manifest = store.read_manifest(path)
        if manifest is None or fingerprint_in(manifest) != fingerprint:
            return False
        if not all((path / name).exists() for name in manifest["files"]):
            return False  # a file was lost, or was deleted because it was damaged
        store.verify(path)
        return True

    def begin(self, folder: str, kind: str = "") -> Path:
        """Returns the folder for a new part, after a check that it contains no foreign files.

        Args:
          folder: path within the run folder.
          kind: kind of a folder that is written in place, see `ialp_jax.claim`. Empty: the whole folder is
            replaced.

        Raises:
          InputError: the folder contains files that this project did not write.
        """
        path = self.folder / folder
        claim(path, kind, "--workdir") if kind else store.require_ours(path.resolve())
        return path


def start_from(source: Path, folder: Path) -> None:
    """Copies the parts of another run, up to pre-training, into a run folder that lacks them.

    Later, each stage compares fingerprints to decide whether to keep its copied part. The manifest of a copy
    names its original, so that the copy may be replaced without --redo while the original exists.

    Raises:
      InputError: ``source`` is not a run folder.
    """
    if not (source / "config.json").is_file():
        raise InputError(f"--start_from={source}: not a run folder, it has no config.json")
    if not is_claimed(source, RUN):
        raise InputError(f"--start_from={source}: not a run folder of this project")
    for name in FOLDER_STAGE:
        manifest = store.read_manifest(source / name)
        if manifest is not None and not (folder / name).exists():
            with store.replacing(folder / name) as partial:
                shutil.copytree(source / name, partial, dirs_exist_ok=True)
                manifest[COPIED_FROM] = str((source / name).resolve())
                store.write_json(partial / store.MANIFEST, manifest)


def is_copy(manifest: Mapping[str, Any]) -> bool:
    """Whether a part is a copy, made by `start_from`, whose original still exists."""
    original = manifest.get(COPIED_FROM)
    if not isinstance(original, str):
        return False
    try:
        kept = store.read_manifest(Path(original))
    except InputError:
        return False
    return kept is not None and kept["files"] == manifest["files"]


# Maps each part from data to pre-training to the stage that makes it.
FOLDER_STAGE = {
    "data": "data",
    "simulator": "simulate",
    "lora": "lora",
    "labels": "label",
    "pretrain/ialp": "pretrain",
    "pretrain/ialp_soft": "pretrain",
    "pretrain/a2c_warm": "pretrain",
    "pretrain/sasrec": "pretrain",
}

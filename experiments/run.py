"""A run folder: its settings, and which stages are done with which inputs."""

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
from ialp_jax.labelling import tuner
from ialp_jax.llm.prompting import prompts
from ialp_jax.simulator.config import resolved

ELSEWHERE = ("store", "workers", "ray_address")  # where labels are kept and made is no part of them
UNSEEN = ("devices", "checkpoint", "tensorboard")  # settings that no result shows
MOST_TOLD = 1000  # characters of what differs
FINGERPRINT = "fingerprint"  # in a manifest: of the settings and inputs from which a part was made


def settings(config: Config) -> dict[str, Any]:
    """What decides results, as plain data, with the values that the simulator's preset gives."""
    tree = dataclasses.asdict(dataclasses.replace(config, simulator=resolved(config.simulator)))
    tree = {name: value for name, value in tree.items() if name not in UNSEEN}
    return tree | ({"environment": rounding} if (rounding := numerics()) else {})


def llm_settings(config: Config) -> dict[str, Any]:
    """What of the LLM's configuration decides an answer."""
    llm = dataclasses.asdict(config.llm)
    for name in ELSEWHERE:
        del llm[name]
    tune = {name: value for name, value in llm["tune"].items() if name not in tuner.IRRELEVANT}
    llm["tune"] = tune if config.llm.tune.steps else {"steps": 0}
    template = prompts.choose(config.llm.template, embedded=not config.llm.model)
    return llm | {"template": template.digest()}  # a file may change


def report_fingerprint(config: Config) -> str:
    """Fingerprint of all settings on which a run depends; it is in the manifest of the report."""
    return store.digest(settings(config) | {"llm": llm_settings(config)})


def fingerprint_in(manifest: Mapping[str, Any]) -> str | None:
    """The fingerprint in a manifest; None if a user has put the part there."""
    return manifest.get(FINGERPRINT, manifest.get("key"))  # its name in earlier versions


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their paths ``a.b``."""
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def difference(old: dict[str, Any], new: dict[str, Any], free: Collection[str] = ()) -> str:
    """What differs between two settings, ``free`` paths apart, as ``a.b: old -> new``, comma-separated."""
    before, after = flat(old), flat(new)
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n) and n not in free)
    return ", ".join(f"{n}: {before.get(n)!r} -> {after.get(n)!r}" for n in names)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
      folder: everything the run writes is in it.
      config: its settings.
      overwrite: whether finished work of other settings may be replaced, however long it took.
      free: paths of settings that may change without that.
    """

    folder: Path
    config: Config
    overwrite: bool = False
    free: frozenset[str] = frozenset()

    @classmethod
    def open(cls, folder: Path, config: Config, overwrite: bool, free: Collection[str] = ()) -> Run:
        """Opens or makes a run folder.

        Settings of a folder in which something was made are replaced later, by `experiments.stages.redo`,
        once it is known that nothing is lost.

        Raises:
          InputError: it cannot be written, or its settings cannot be read.
        """
        path = folder / "config.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A first command that failed, as for want of a data file, has left nothing to protect.
            written = any(part.is_dir() and any(part.iterdir()) for part in folder.glob("*"))
            if store.read_json(path) is None or not written:
                store.write_json(path, settings(config))
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
        return cls(folder, config, overwrite, frozenset(free))

    def is_done(self, folder: str, fingerprint: str) -> bool:
        """Whether a stage's folder is complete and was made from the same inputs and settings."""
        path = self.folder / folder
        manifest = store.read_manifest(path)
        if manifest is None or fingerprint_in(manifest) != fingerprint:
            return False
        if not all((path / name).exists() for name in manifest["files"]):
            return False  # a file was lost, or deleted because it was damaged
        store.verify(path)
        return True

    def begin(self, folder: str, kind: str = "") -> Path:
        """The folder of a stage that is about to be made, after checking that nobody else's files are in it.

        Args:
          folder: within the run folder.
          kind: of a folder that is written in place, see `ialp_jax.claim`; other folders are replaced whole.

        Raises:
          InputError: it holds files that this project did not write, before anything is computed.
        """
        path = self.folder / folder
        claim(path, kind, "--workdir") if kind else store.require_ours(path.resolve())
        return path


def start_from(source: Path, folder: Path) -> None:
    """Copies what another run's stages made, up to pre-training, into a run folder that lacks it.

    Each stage decides by its fingerprint whether its part is kept.

    Raises:
      InputError: ``source`` is no run.
    """
    if not (source / "config.json").is_file():
        raise InputError(f"--start_from={source}: not a run folder, it has no config.json")
    if not is_claimed(source, RUN):
        raise InputError(f"--start_from={source}: not a run folder of this project")
    for name in FOLDER_STAGE:
        if store.read_manifest(source / name) is not None and not (folder / name).exists():
            with store.replacing(folder / name) as partial:
                shutil.copytree(source / name, partial, dirs_exist_ok=True)


# What a stage makes, up to pre-training -> that stage.
FOLDER_STAGE = {
    "data": "data",
    "simulator": "simulate",
    "tune": "tune",
    "labels": "label",
    "pretrain/ialp": "pretrain",
    "pretrain/a2c_warm": "pretrain",
    "pretrain/sasrec": "pretrain",
}

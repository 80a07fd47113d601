"""A run folder: its settings, and which stages are done with which inputs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from experiments.config import Config
from experiments.jax_environment import numerics
from ialp_jax import store
from ialp_jax.claim import RUN, claim, is_claimed
from ialp_jax.errors import InputError
from ialp_jax.llm.prompting import prompts
from ialp_jax.simulator.config import resolved

ELSEWHERE = ("store", "workers", "ray_address")  # where labels are kept and made is no part of them
UNSEEN = ("devices", "checkpoint", "tensorboard")  # settings that no result shows
MOST_TOLD = 1000  # characters of what differs
KEY = "key"  # in a stage's manifest: digest of the settings and inputs it was made from


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
    template = prompts.choose(config.llm.template, embedded=not config.llm.model)
    return llm | {"template": template.digest()}  # a file may change


def report_key(config: Config) -> str:
    """Digest of all settings that a whole run depends on; its report's manifest has it."""
    return store.digest(settings(config) | {"llm": llm_settings(config)})


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
      overwrite: whether what was begun with other settings is given up.
    """

    folder: Path
    config: Config
    overwrite: bool = False

    @classmethod
    def open(cls, folder: Path, config: Config, overwrite: bool, free: Collection[str] = ()) -> Run:
        """Opens or makes a run folder; settings at ``free`` paths may differ from those it was made with.

        Raises:
          InputError: it was made with other settings and ``overwrite`` is off; or it cannot be written.
        """
        path = folder / "config.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
        old = store.read_json(path)
        changes = difference(old, settings(config), free) if old is not None else ""
        # A first command that failed, as for want of a data file, has left nothing to protect.
        written = any(part.is_dir() and any(part.iterdir()) for part in folder.glob("*"))
        if changes and written and not overwrite:
            told = changes if len(changes) < MOST_TOLD else f"{changes[:MOST_TOLD]} ..."
            raise InputError(
                f"{folder} was made with other settings ({told}); "
                "give another --workdir, or --overwrite to redo what they change"
            )
        for part in folder.glob("*") if changes else ():
            if part.name in ("data", "simulator", "audit"):
                store.require_ours(part)
        try:
            store.write_json(path, settings(config))
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
        return cls(folder, config, overwrite)

    def key(self, parts: Any, *upstream: str) -> str:
        """Digest of some settings and of everything that the upstream stages wrote.

        Raises:
          InputError: an upstream stage is missing; names it.
        """
        made = {}
        for stage in upstream:
            manifest = store.read_manifest(self.folder / stage)
            if manifest is None:
                command = FOLDER_STAGE[stage]
                raise InputError(f"{self.folder / stage} is missing; run --stage={command} first")
            made[stage] = manifest["files"]
        return store.digest([parts, made, *filter(None, [numerics()])])

    def is_done(self, folder: str, key: str) -> bool:
        """Whether a stage's folder is complete and was made from the same inputs and settings."""
        path = self.folder / folder
        manifest = store.read_manifest(path)
        if manifest is None or manifest.get(KEY) != key:
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

    Each stage decides by its own key whether it may be kept.

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

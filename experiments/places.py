"""Where the files of a run may be: nothing that a user names may lie where a run replaces its own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.config import Config, names_in
from experiments.study.settings import Study
from ialp_jax import claim
from ialp_jax.errors import InputError

# What a run writes to in its folder.
PARTS = (
    *("config.json", "data", "simulator", "tune", "labels", "audit", "pretrain", "adapt", "report"),
    *("checkpoints", "tensorboard", "profile", "tuning"),
)


def check_places(folder: Path, config: Config | Study, start_from: str = "") -> None:
    """Checks that no path that the user names is a run folder, or lies in a part that the run replaces.

    A label store must be one, or a new or empty folder.

    Args:
      folder: of the run, or of the study.
      config: its settings.
      start_from: the run to copy from, if any.

    Raises:
      InputError: with the flag and both paths. Nothing was written.
    """
    if isinstance(config, Study):
        runs = [folder / world for world in config.world_ids()]
        named = list(_of_study(config))
    else:
        runs, named = [folder], [*_of_run(config), ("--start_from", start_from)]
    for flag, path in named:
        for run in runs if path else ():
            _check_apart(flag, path, run)
    if isinstance(config, Config) and config.llm.store:
        claim.check(Path(config.llm.store).expanduser(), claim.STORE, "--config.llm.store")


def _of_run(config: Config) -> Iterator[tuple[str, str]]:
    llm = config.llm
    yield "--config.data.root", config.data.root
    for name in ("model", "adapter", "store", "template"):
        yield f"--config.llm.{name}", getattr(llm, name)


def _of_study(study: Study) -> Iterator[tuple[str, str]]:
    for name in ("data_root", "results", "tuned"):
        yield f"--config.{name}", getattr(study, name)
    for path in names_in(study.readme):
        yield "--config.readme", path


def _check_apart(flag: str, path: str, run: Path) -> None:
    """Raises InputError if a path is a run's folder or lies in one of its `PARTS`."""
    place, home = Path(path).expanduser().resolve(), run.resolve()
    if place == home:
        raise InputError(f"{flag}={path}: is the folder of the run, which replaces its files; name another")
    for part in PARTS:
        target = (home / part).resolve()
        if place == target or target in place.parents:
            raise InputError(
                f"{flag}={path}: lies in {run / part}, which the run replaces; name another place"
            )

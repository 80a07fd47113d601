"""Checks that no path in the settings lies in a folder whose files a run replaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.config import Config, names_in
from experiments.runtime import compilation_cache
from experiments.study.settings import Study
from ialp_jax import claim
from ialp_jax.errors import InputError, check_local

# Files and folders that a run writes into its run folder.
PARTS = (
    *("config.json", "data", "simulator", "lora", "labels", "audit", "pretrain", "adapt", "report"),
    *("checkpoints", "tensorboard", "profile", "tuning"),
)


def check_places(folder: Path, config: Config | Study, start_from: str = "") -> None:
    """Checks that no path in the settings is the run folder, or lies in a part that the run replaces.

    The path of the label store must be an existing label store, or a new or empty folder.

    Args:
      folder: folder of the run or study.
      config: settings of the run or study.
      start_from: folder of the run to copy from; "" for none.

    Raises:
      InputError: a path is not allowed; the message names the flag of this path. Nothing is written.
    """
    if isinstance(config, Study):
        runs = [folder / world for world in config.world_ids()]
        named = list(_of_study(config))
    else:
        runs, named = [folder], [*_of_run(config), ("--start_from", start_from)]
    for flag, path in named:
        check_local(flag, path)
        for run in runs if path else ():
            _check_apart(flag, path, run)
    _check_cache(folder, config)
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


def _check_cache(folder: Path, config: Config | Study) -> None:
    """Raises InputError if the folder of compiled programs lies in the folder of the run or study.

    Programs compile before the run claims its folder, so the run would find files in a new folder.
    """
    flag, path = compilation_cache.place(config.compilation_cache)
    if path and "://" not in path and Path(path).expanduser().resolve().is_relative_to(folder.resolve()):
        claim.check(folder, claim.STUDY if isinstance(config, Study) else claim.RUN, "--workdir")
        raise InputError(f"{flag}={path}: lies in {folder}, the folder of --workdir; name a place outside it")


def _check_apart(flag: str, path: str, run: Path) -> None:
    """Raises InputError if a path is a run's folder or lies in one of its `PARTS`."""
    resolved, run_folder = Path(path).expanduser().resolve(), run.resolve()
    if resolved == run_folder:
        raise InputError(f"{flag}={path}: is the folder of the run, which replaces its files; name another")
    for part in PARTS:
        part_folder = (run_folder / part).resolve()
        if resolved == part_folder or part_folder in resolved.parents:
            raise InputError(
                f"{flag}={path}: lies in {run / part}, which the run replaces; name another place"
            )

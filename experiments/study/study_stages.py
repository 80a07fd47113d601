"""Runs the stages of a study: the stages of each world, the search and the report."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from experiments.agents import tunable_paths
from experiments.config import names_in
from experiments.places import check_places
from experiments.run import Run
from experiments.runtime.lock import locked
from experiments.stages import run_stages
from experiments.stages.adapt_stage import adapt_agent
from experiments.stages.common import Worlds, read_worlds, say
from experiments.stages.redo import check, settle
from experiments.study import study_results
from experiments.study.search import search
from experiments.study.settings import Study
from experiments.study.starts import write_starts
from experiments.study.study_report import write_report
from experiments.study.variants import tuned_in, variant
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.claim import RESULTS, RUN, STUDY, claim
from ialp_jax.errors import expanded
from ialp_jax.simulator.config import replaced


def run_study(study: Study, folder: Path, stage: str, overwrite: bool) -> None:
    """Runs one stage of a study, or all stages except the search.

    The process locks the folder of one world at a time. So several processes can run the same study together
    if each runs a different world. Meanwhile, another process can write the report.

    Args:
      study: settings of the study.
      folder: folder of the study; it contains one run folder per world.
      stage: a stage of `experiments.flags.STAGES`, ``search`` or ``all``.
      overwrite: whether results with other settings may be replaced.

    Raises:
      InputError: an error that the user can mend.
    """
    check_places(folder, study)
    if stage == "report":
        return report(study, folder)
    claim(folder, STUDY, "--workdir")
    if stage in ("all", "adapt"):
        study_results.guard(study, folder, overwrite)
    for world in study.world_ids():
        if stage == "search" and tuned_in(world) != world:
            continue
        say(f"\n{study.name}: {world}")
        with locked(folder / world, RUN):
            run_world(study, world, folder, stage, overwrite)
    if stage == "all":
        if study.starts:
            write_starts(study, folder)
        report(study, folder)


def run_world(study: Study, world: str, folder: Path, stage: str, overwrite: bool) -> None:
    """Runs one stage of one world, or ``all`` stages; see `run_study`."""
    run = open_run(study, world, folder, overwrite)
    if stage == "search":

        def worlds() -> Worlds:
            prepare(run, study.methods_of(world), pretrained=False)
            return read_worlds(run)

        search(study, world, run, folder, overwrite, worlds)
    elif stage in ("all", "adapt"):
        methods = study_results.missing(study, folder, run)
        say(f"{world}: {len(study.methods_of(world)) - len(methods)} methods are in the results and stay")
        if methods:
            earlier = ("data", "simulate", *(("label",) if _labelled(run, methods) else ()), "pretrain")
            # Checks all stages before the first one starts, so that an error comes before any work.
            check(with_agents(run, methods), (*(earlier if stage == "all" else ()), "adapt"))
        settle(run, ())
        if stage == "all" and methods:
            prepare(run, methods)
        adapt_all(study, run, folder, methods)
    else:
        if stage == "label":
            borrow_labels(run)
        run_stages(run, (stage,))


def open_run(study: Study, world: str, folder: Path, overwrite: bool) -> Run:
    """Opens the run folder of one world; parts with changed tuned values may be made again without --redo."""
    return Run.open(folder / world, study.tuned_config(world, folder), overwrite, tunable_paths())


def prepare(run: Run, methods: Sequence[str], pretrained: bool = True) -> None:
    """Runs the stages before adaptation; skips labelling and pre-training if no method needs them."""
    run_stages(run, ("data", "simulate"))
    if _labelled(run, methods):
        borrow_labels(run)
        run_stages(run, ("label",))
    if pretrained and any(registry.starts_from(name, run.config.agents) for name in methods):
        run_stages(with_agents(run, methods), ("pretrain",))


def _labelled(run: Run, methods: Sequence[str]) -> bool:
    """Whether any of the methods needs labels."""
    return any(registry.needs_labels(name, run.config.agents) for name in methods)


def with_agents(run: Run, methods: Sequence[str]) -> Run:
    """A copy of the run with only these agents."""
    return dataclasses.replace(run, config=replaced(run.config, {"adapt.agents": ",".join(methods)}))


def borrow_labels(run: Run) -> None:
    """Copies the label store and the trained model of another run with the same world and set of labels.

    The label stage then checks each stored answer against its prompt, model and settings. It asks the label
    source only the missing prompts.
    """
    target, known = run.folder / "labels", variant(run.folder.name)
    source = run.folder.parent / known._replace(not_offline=False, literal=False, source="").id() / "labels"
    if source == target or target.exists() or store.read_manifest(source) is None:
        return
    partial = target.with_name(f".labels.{uuid.uuid4().hex}")
    shutil.copytree(source, partial)
    (partial / store.MANIFEST).unlink()
    (partial / "arrays.npz").unlink()
    partial.replace(target)


def adapt_all(study: Study, run: Run, folder: Path, methods: Sequence[str]) -> None:
    """Adapts each method in one world, and adds its results to the study when it has finished."""
    worlds = functools.cache(lambda: read_worlds(run))
    tuned = study.tuned_values(run.folder.name, folder)
    for name in methods:
        adapt_agent(run, name, worlds)
        with locked(study.results_folder(folder), RESULTS, "--config.results", wait=True):
            study_results.collect(study, folder, run, name, tuned)


def report(study: Study, folder: Path) -> None:
    """Writes tables and figures from the collected results; needs no run folder."""
    results = study.results_folder(folder)
    claim(results, RESULTS, "--config.results")
    readmes = [Path(expanded(name, "--config.readme")) for name in names_in(study.readme)]
    say("\n" + write_report(results, readmes))
    say(f"\nreport: {results}")

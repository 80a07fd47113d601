"""Finds the parts that a run will make again. Work that took a long time needs --redo."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.run import MAX_DIFFERENCE, Run, is_copy, settings
from experiments.stages import fits, recipes
from ialp_jax import store
from ialp_jax.errors import InputError

UNASKED_SECONDS = 60.0  # A run may replace finished work up to this duration without --redo.
MEASURING = ("evaluation",)  # Settings that affect measurements, but not policies.
LOCATION = ("data.root", "data.download")  # Settings that affect the place of files, but not their content.
IN_PLACE = ("lora", "labels")  # Never replaced as a whole, because they contain checkpoints or LLM answers.
_SHOWN = 12  # Largest number of parts that a message lists.


@dataclasses.dataclass(frozen=True)
class Redone:
    """A finished part that would be made again.

    Attributes:
      part: path of the part in the run folder.
      why: the reason why the part would be made again.
      seconds: time that the part took; NaN if its manifest has no time.
      asked: whether --redo is not needed, because only measurement settings or free settings have changed, or
        because the part is a copy of another run's part.
      inputs: whether the files that later parts read will change.
    """

    part: str
    why: str
    seconds: float
    asked: bool
    inputs: bool

    def __str__(self) -> str:
        cost = "its time is not known" if math.isnan(self.seconds) else f"{self.seconds:,.0f} s"
        return f"{self.part} ({fits.clipped(self.why, 200)}; {cost})"


def redone(run: Run, stages: Sequence[str]) -> list[Redone]:
    """The finished parts, in stage order, that ``stages`` would make again with the run's settings."""
    again: dict[str, Redone] = {}
    for part in (part for stage in stages for part in recipes.parts(run.config, stage)):
        manifest = store.read_manifest(run.folder / part)
        if manifest is None:
            continue
        needed = recipes.recipe(run.config, part)
        fed = [name for name in needed.reads if name in again and again[name].inputs]
        if why := fits.stale(run, part):
            before = fits.changed_settings(run, part, manifest)
            free = (*MEASURING, *run.free)
            asked = before is not None and fits.only(free, before, needed.settings)
            moved = before is not None and fits.only(LOCATION, before, needed.settings)
            asked = (asked and not fed) or is_copy(manifest)
            again[part] = Redone(part, _plain(why), seconds(manifest), asked, not moved)
        elif fed:
            asked = all(again[name].asked for name in fed) or is_copy(manifest)
            again[part] = Redone(part, f"made from {', '.join(fed)}", seconds(manifest), asked, True)
        elif part == "simulator" and not fits.references_fit(run):
            again[part] = Redone(part, fits.reference_changes(run), 0.0, True, False)
    return list(again.values())


def _plain(why: str) -> str:
    return why.removeprefix("was made with other settings (").removesuffix(")").removeprefix("was ")


def seconds(manifest: Mapping[str, Any]) -> float:
    """The time that a part took, from its manifest; NaN if the manifest has no time."""
    # Labels have a second entry: the time of all answers, including answers in earlier processes.
    places = [manifest, manifest.get("provenance"), manifest.get("fine_tuning")]
    entries = [place.get("seconds") for place in places if isinstance(place, dict)]
    return max((float(value) for value in entries if isinstance(value, int | float)), default=math.nan)


def check(run: Run, stages: Sequence[str]) -> list[Redone]:
    """The parts that the stages would make again.

    If the replaced work took more than `UNASKED_SECONDS`, ``run.overwrite`` must be true. Work does not count
    if only measurement settings or settings in ``run.free`` have changed.

    Raises:
      InputError: ``run.overwrite`` must be true, but is false (the message lists the parts, with reasons and
        times). Or a stage needs a part that is missing or does not fit, and no earlier stage makes this part.
        Or a folder that would be replaced contains foreign files.
    """
    parts = redone(run, stages)
    _require_inputs(run, stages)
    unasked = [one for one in parts if not one.asked]
    cost = sum(math.inf if math.isnan(one.seconds) else one.seconds for one in unasked)
    if cost > UNASKED_SECONDS and not run.overwrite:
        named = ", ".join(map(str, unasked[:_SHOWN])) + (" ..." if len(unasked) > _SHOWN else "")
        named = fits.clipped(named, 2 * MAX_DIFFERENCE)
        raise InputError(
            f"{run.folder}: these settings would replace finished work: {named}; "
            "give another --workdir, or --redo to replace it"
        )
    for one in parts:
        if one.part not in IN_PLACE:
            store.require_ours(run.folder / one.part)
    return parts


def _require_inputs(run: Run, stages: Sequence[str]) -> None:
    """Raises InputError if a stage needs a missing or outdated part that no earlier stage makes."""
    made: set[str] = set()
    for stage in stages:
        own = recipes.parts(run.config, stage)
        needed = [name for part in own for name in recipes.recipe(run.config, part).reads]
        if stage == "report":
            needed = recipes.parts(run.config, "adapt")
            if "simulator" not in made:
                fits.require_references(run)
        for part in dict.fromkeys(needed):
            if part not in made:
                fits.require_fitting(run, part, made)
        made |= set(own)


def settle(run: Run, stages: Sequence[str]) -> list[str]:
    """Writes the settings of a run to its folder if `check` passes; returns one line per outdated part.

    Raises:
      InputError: see `check`; or the folder cannot be written.
    """
    parts = check(run, stages)
    try:
        store.write_json(run.folder / "config.json", settings(run.config))
    except OSError as error:
        raise InputError(f"{run.folder}: cannot be written ({error.strerror})") from None
    return [f"{one.part}: {fits.clipped(one.why)}; made anew" for one in parts]

"""Plans the parts that a run makes anew. Long finished work is replaced only on request."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.run import MOST_TOLD, Run, settings
from experiments.stages import fits, recipes
from ialp_jax import store
from ialp_jax.errors import InputError

UNASKED_SECONDS = 60.0  # finished work that a run may replace without --redo
MEASURING = ("evaluation",)  # settings that only measure: the same policies are trained again
LOCATION = ("data.root", "data.download")  # settings that say where files are, not what is in them
IN_PLACE = ("lora", "labels")  # not replaced whole: they hold checkpoints, or answers of an LLM
_SHOWN = 12  # parts named in a message


@dataclasses.dataclass(frozen=True)
class Redone:
    """A finished part that would be made anew.

    Attributes:
      part: its folder in the run.
      why: what has changed.
      seconds: that making it took; NaN if its manifest does not say.
      asked: whether the changed settings say that it should be made anew.
      inputs: whether later parts will read other files.
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
    """The finished parts that some stages would make anew with the settings of a run, first ones first."""
    found: dict[str, Redone] = {}
    for part in (part for stage in stages for part in recipes.parts(run.config, stage)):
        manifest = store.read_manifest(run.folder / part)
        if manifest is None:
            continue
        needed = recipes.recipe(run.config, part)
        fed = [name for name in needed.reads if name in found and found[name].inputs]
        if why := fits.stale(run, part):
            before = fits.changed_settings(run, part, manifest)
            free = (*MEASURING, *run.free)
            asked = before is not None and fits.only(free, before, needed.settings)
            moved = before is not None and fits.only(LOCATION, before, needed.settings)
            asked = asked and not fed
            found[part] = Redone(part, _plain(why), seconds(manifest), asked, not moved)
        elif fed:
            asked = all(found[name].asked for name in fed)
            found[part] = Redone(part, f"made from {', '.join(fed)}", seconds(manifest), asked, True)
        elif part == "simulator" and not fits.references_fit(run):
            found[part] = Redone(part, fits.reference_changes(run), 0.0, True, False)
    return list(found.values())


def _plain(why: str) -> str:
    return why.removeprefix("was made with other settings (").removesuffix(")").removeprefix("was ")


def seconds(manifest: Mapping[str, Any]) -> float:
    """How long the making of a part took by its manifest; NaN if it does not say."""
    # Those of labels beside their provenance: what their answers cost, also in earlier processes.
    places = [manifest, manifest.get("provenance"), manifest.get("fine_tuning")]
    told = [place.get("seconds") for place in places if isinstance(place, dict)]
    return max((float(value) for value in told if isinstance(value, int | float)), default=math.nan)


def check(run: Run, stages: Sequence[str]) -> list[Redone]:
    """The parts that the stages would make anew.

    Work of more than `UNASKED_SECONDS` needs ``run.overwrite``, except if only settings have changed that
    measure (or that the run sets free).

    Raises:
      InputError: such work would be replaced: names each part, why, and what it cost; or a stage reads a part
        that is missing or does not fit and that none of the others makes; or somebody else's file is in a
        folder that would be replaced.
    """
    parts = redone(run, stages)
    _require_inputs(run, stages)
    dear = [one for one in parts if not one.asked]
    cost = sum(math.inf if math.isnan(one.seconds) else one.seconds for one in dear)
    if cost > UNASKED_SECONDS and not run.overwrite:
        named = ", ".join(map(str, dear[:_SHOWN])) + (" ..." if len(dear) > _SHOWN else "")
        named = fits.clipped(named, 2 * MOST_TOLD)
        raise InputError(
            f"{run.folder}: these settings would replace finished work: {named}; "
            "give another --workdir, or --redo to replace it"
        )
    for one in parts:
        if one.part not in IN_PLACE:
            store.require_ours(run.folder / one.part)
    return parts


def _require_inputs(run: Run, stages: Sequence[str]) -> None:
    """Raises InputError if a stage reads what is missing or does not fit and is not made before it."""
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
    """Records a run's settings in its folder once `check` has passed; returns what is made anew, in lines.

    Raises:
      InputError: as `check`; or the folder cannot be written.
    """
    parts = check(run, stages)
    try:
        store.write_json(run.folder / "config.json", settings(run.config))
    except OSError as error:
        raise InputError(f"{run.folder}: cannot be written ({error.strerror})") from None
    return [f"{one.part}: {fits.clipped(one.why)}; made anew" for one in parts]

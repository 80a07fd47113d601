"""Checks whether the parts of a run folder fit its settings and each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from experiments.run import MAX_DIFFERENCE, Run, difference, fingerprint_in
from experiments.stages.recipes import (
    FILES,
    MADE_FROM,
    REFERENCES,
    SETTINGS,
    files_of,
    recipe,
    reference_settings,
    require_there,
)
from ialp_jax import store
from ialp_jax.errors import InputError


def references_fit(run: Run) -> bool:
    """Whether the returns of the reference policies were computed with the present settings."""
    manifest = store.read_manifest(run.folder / "simulator") or {}
    return fingerprint_in(manifest) is None or manifest.get(REFERENCES) == reference_settings(run.config)


def reference_changes(run: Run) -> str:
    """Describes the setting changes since the returns of the reference policies were computed."""
    before = (store.read_manifest(run.folder / "simulator") or {}).get(REFERENCES)
    return difference(before if isinstance(before, dict) else {}, reference_settings(run.config))


def changed_settings(run: Run, part: str, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The settings in a part's manifest if they differ from the present settings; otherwise None."""
    made = _made(manifest)
    return made[SETTINGS] if made and made[SETTINGS] != recipe(run.config, part).settings else None


def _made(manifest: dict[str, Any]) -> dict[str, Any] | None:
    made = manifest.get(MADE_FROM)
    whole = isinstance(made, dict) and all(isinstance(made.get(n), dict) for n in (SETTINGS, FILES))
    return made if whole else None


def stale(run: Run, part: str) -> str:
    """The reason why a finished part does not fit the present settings and files; empty if it fits.

    A missing input is not such a reason. A part without a fingerprint always fits: a user has added it by
    hand.
    """
    manifest = store.read_manifest(run.folder / part)
    if manifest is None or fingerprint_in(manifest) is None:
        return ""
    made = _made(manifest)
    if made is None:
        return "was made by an earlier version"
    needed = recipe(run.config, part)
    if changes := difference(made[SETTINGS], needed.settings):
        return f"was made with other settings ({clipped(changes)})"
    for upstream in needed.reads:
        now = files_of(run, upstream)
        before = {n: sha for n, sha in made[FILES].items() if n.startswith(f"{upstream}/")}
        if now is not None and now != before:
            return f"was made from other files of {upstream}"
    return ""


def clipped(text: str, most: int = MAX_DIFFERENCE) -> str:
    """Cuts a long text after ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]} ..."


def require(run: Run, part: str) -> None:
    """Checks that all direct inputs of a part exist, and that all existing inputs of any depth fit.

    Raises:
      InputError: an input is missing or does not fit; the message names the stage that makes this input.
    """
    require_there(run, *recipe(run.config, part).reads)
    for upstream in recipe(run.config, part).reads:
        require_fitting(run, upstream)


def require_fitting(run: Run, part: str, made: Collection[str] = ()) -> None:
    """Checks that a part exists and fits, and that its existing inputs fit.

    Args:
      run: the run whose folder and settings are used.
      part: the part to check.
      made: parts that earlier stages will make again; whether they fit is not checked.

    Raises:
      InputError: as `require`.
    """
    require_there(run, part)
    for one in _with_upstream(run, part):
        if one not in made and (why := stale(run, one)):
            stage = recipe(run.config, one).stage
            raise InputError(f"{run.folder / one} {why}; run --stage={stage} first")


def _with_upstream(run: Run, part: str) -> Iterator[str]:
    """Yields the existing direct and indirect inputs of a part in stage order, then the part itself."""
    for upstream in recipe(run.config, part).reads:
        if store.read_manifest(run.folder / upstream) is not None:
            yield from _with_upstream(run, upstream)
    yield part


def require_references(run: Run) -> None:
    """Raises InputError if the returns of the reference policies were computed with other settings."""
    require_there(run, "simulator")
    if not references_fit(run):
        folder, changes = run.folder / "simulator", clipped(reference_changes(run))
        raise InputError(f"{folder} was made with other settings ({changes}); run --stage=simulate first")


def only(paths: Collection[str], before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two sets of settings differ only at these paths; a path may name a whole section."""
    differing = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    return all(any(n == path or n.startswith(f"{path}.") for path in paths) for n in differing)

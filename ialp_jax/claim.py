"""Marks folders that the project may write to, so that no command replaces files of somebody else.

A command claims a folder before it writes there. A folder can be claimed if it is new, empty or already
marked. The marker is a small file that names the kind of folder. Older versions made folders without a
marker; `claim` recognises such folders by their content and marks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ialp_jax import store
from ialp_jax.errors import InputError

RUN, STUDY, RESULTS, SWEEP, REPORT = "run", "study", "results", "sweep", "report"
LABELS, ADAPTER, STORE = "labels", "adapter", "label store"
_FIRST_LINE = "Made by ialp_jax, which may replace all files of its own here. Kind of folder: "


def claim(folder: Path, kind: str, flag: str = "") -> None:
    """Makes a folder if it is missing, and marks it as the project's.

    Args:
      folder: if it exists, it must be empty, marked with this kind, or made by an older version.
      kind: RUN, STUDY, RESULTS, SWEEP, REPORT, LABELS, ADAPTER or STORE.
      flag: the flag that names the folder, for the error message.

    Raises:
      InputError: the folder holds other files, or cannot be written. Nothing is changed.
    """
    if check(folder, kind, flag):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store.write_text(folder / store.MARKER, f"{_FIRST_LINE}{kind}\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None


def check(folder: Path, kind: str, flag: str = "") -> bool:
    """Whether a folder is marked with a kind. Raises InputError if `claim` would do so; writes nothing."""
    marker = folder / store.MARKER
    try:
        marked = _kind(marker)
        foreign = _foreign(folder) if not marked and folder.is_dir() and not _MADE[kind](folder) else ""
        marked = marked or _kind(marker)  # another process may have claimed the folder in the meantime
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    if marked != kind and (marked or foreign):
        problem = f"is a folder of the kind {marked!r}" if marked else f"is not empty, it holds {foreign!r}"
        remedy = f"give a new or empty folder{f' by {flag}' if flag else ''}"
        raise InputError(f"{folder}: {problem}; {remedy}, since a {kind} folder replaces its own files")
    return marked == kind


def is_claimed(folder: Path, kind: str) -> bool:
    """Whether a folder is marked with a kind, or was made by an older version."""
    marked = _kind(folder / store.MARKER)
    return marked == kind or (not marked and folder.is_dir() and _MADE[kind](folder))


def check_replaceable(path: Path, first_line: str, flag: str) -> None:
    """Checks that an output file does not exist yet, or was written by the same command.

    Args:
      path: path of the file.
      first_line: first line of every file that this command writes.
      flag: the flag that names the file.

    Raises:
      InputError: the file begins with another line, or cannot be read. Nothing is changed.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(len(first_line.encode()))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{flag}={path}: cannot be written ({error.strerror})") from None
    if beginning != first_line.encode():
        raise InputError(f"{flag}={path}: exists and is not a table of this command; name another file")


def _kind(marker: Path) -> str:
    """The kind that a marker names, or "" if there is no marker."""
    try:
        text = marker.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return ""
    return text.removeprefix(_FIRST_LINE).strip() if text.startswith(_FIRST_LINE) else ""


def _foreign(folder: Path) -> str:
    """The first name in a folder, or "" if it is empty; ignores a marker that another process is writing."""
    names = sorted(path.name for path in folder.iterdir())
    return next((name for name in names if not name.startswith(f".{store.MARKER}.")), "")


def _has(*names: str) -> Callable[[Path], bool]:
    """A function that checks whether a folder's config.json is an object with these keys."""

    def has_keys(folder: Path) -> bool:
        try:
            config = store.read_json(folder / "config.json") or {}
        except InputError:
            return False
        return all(isinstance(config.get(name), dict) for name in names)

    return has_keys


_made_study_results = _has("study", "worlds", "pairs")
_made_run = _has("data", "simulator", "network", "llm", "labelling", "pretrain", "agents", "adapt")


def _holds_runs(folder: Path) -> bool:
    return any(is_claimed(path, RUN) for path in folder.iterdir() if path.is_dir())


def _made_results(folder: Path) -> bool:
    logs = list((folder / "tuning").glob("*.csv"))  # a search writes these logs before results exist
    return _made_study_results(folder) or any(log.read_bytes()[:13] == b"world,method," for log in logs)


def _is_sealed(folder: Path) -> bool:
    try:
        return store.read_manifest(folder) is not None
    except InputError:
        return False


def _made_labels(folder: Path) -> bool:
    parts = (folder, folder / "model", *folder.glob("calibration"), *folder.glob("calibration/*"))
    return any(map(_is_sealed, parts)) or _holds_contexts(folder / "shards")


def _holds_contexts(folder: Path) -> bool:
    return any(re.fullmatch("[0-9a-f]{64}", path.parent.name) for path in folder.glob("*/context.json"))


def _made_report(folder: Path) -> bool:
    try:
        with (folder / "summary.csv").open("rb") as file:
            header = file.readline(2**16)
    except OSError:
        return False
    # The report of a sweep has no manifest. The first column of its table is run; settings may follow.
    return _is_sealed(folder) or re.match(rb"run,(.*,)?world,agent,metric,", header) is not None


_MADE: dict[str, Callable[[Path], bool]] = {
    RUN: _made_run,
    STUDY: _holds_runs,
    RESULTS: _made_results,
    SWEEP: _holds_runs,
    REPORT: _made_report,
    LABELS: _made_labels,
    ADAPTER: _is_sealed,
    STORE: _holds_contexts,
}

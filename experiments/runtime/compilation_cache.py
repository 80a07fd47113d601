"""Keeps compiled programs between runs, by means of JAX's persistent compilation cache. Imports no JAX.

Machine code fits one version of JAX and one processor, so each pair has its own folder. JAX holds a lock
while it reads or writes an entry, so several processes may share a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import filelock

from experiments.runtime.cpu import usable_cores
from ialp_jax.errors import InputError, expanded, one_line

VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # of JAX
AUTO, OFF = "auto", "off"
_NO_FOLDERS = ("on", "true", "yes", "1", "false", "no", "none", "0")  # words that may mean a switch
THRESHOLD_SECONDS = 0.2  # programs that compile faster are not stored
MAX_BYTES = 2**30  # of one folder; JAX removes the least recently used programs
UNUSED_DAYS = 60.0  # folders of other versions and processors are removed after this time
FLAG = "--config.compilation_cache"
_NAME = "jax{}-{}-{}"  # version of jax, version of jaxlib, processor
_LOCK = ".lockfile"  # of JAX
_LOCK_SECONDS = 10.0  # as in JAX
_PROGRAM, _USED = "-cache", "-atime"  # endings of the two files of an entry; JAX writes the second one last


def start(choice: str, environment: MutableMapping[str, str] = os.environ) -> str:
    """Switches the cache on; call this function before the import of JAX.

    If the user has set ``JAX_COMPILATION_CACHE_DIR``, JAX uses that place, except if it cannot be made.

    Args:
      choice: the setting ``compilation_cache``: ``auto``, ``off``, empty (also off), or a folder.
      environment: JAX reads its settings from these variables.

    Returns:
      A note for the user if the folder cannot be written; otherwise "".
    """
    if environment.get(VARIABLE):
        return _start_given(environment)
    parent = chosen(choice)
    if not parent or VARIABLE in environment:
        return ""
    folder, note, most = folder_in(Path(parent)), "", MAX_BYTES
    try:
        prepare(folder)
    except (OSError, filelock.Timeout) as error:
        reason = getattr(error, "strerror", None) or "its lock is not free"
        note = f"note: {folder}: cannot be written ({reason}); new compiled programs are not kept"
        if not os.access(folder, os.R_OK):
            return f"{note}; --config.compilation_cache names another folder, or off"
        most = -1  # without a limit, JAX needs no lock and no times of use, so it can read the programs
    _silence_jax()
    environment[VARIABLE] = str(folder)
    environment.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(most))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(THRESHOLD_SECONDS))
    return note


def _start_given(environment: MutableMapping[str, str]) -> str:
    """Makes the place in the user's variable as JAX would do. If this fails, removes the variable.

    Returns:
      A note for the user if the place cannot be made or written; otherwise "".
    """
    given = environment[VARIABLE] = expanded(environment[VARIABLE], VARIABLE)
    try:
        if "://" in given:
            from etils import epath  # JAX uses this library, too; it imports no JAX

            epath.Path(given).mkdir(parents=True, exist_ok=True)
        else:
            Path(given).mkdir(parents=True, exist_ok=True)
    except Exception as error:  # each kind of storage raises its own types
        del environment[VARIABLE]
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        return one_line(
            f"note: {VARIABLE}={given}: cannot be used ({reason}); compiled programs are not kept"
        )
    if "://" in given or os.access(given, os.W_OK):
        return ""
    _silence_jax()
    return f"note: {VARIABLE}={given}: cannot be written; new compiled programs are not kept"


def _silence_jax() -> None:
    """Switches JAX's warnings about damaged entries and full disks off; the run goes on without the cache."""
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")


def place(choice: str, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Where programs are kept: the flag or variable that names the place, and the place ("" for none)."""
    if VARIABLE in environment:
        return VARIABLE, environment[VARIABLE]
    return FLAG, chosen(choice)


def chosen(choice: str) -> str:
    """The folder that a value of the setting names, "" for none.

    Raises:
      InputError: the value is neither a local folder nor ``auto`` nor ``off``.
    """
    word = choice.strip().lower()
    if word in _NO_FOLDERS:
        raise InputError(
            f"{FLAG}={choice}: must be auto, off or a folder; for a folder of this name, give ./{choice}"
        )
    if "://" in choice:
        raise InputError(
            f"{FLAG}={choice}: must be a local folder; JAX reads other places from the environment variable "
            f"{VARIABLE}"
        )
    if word != AUTO:
        return "" if word in ("", OFF) else choice
    places = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")
    caches = next(filter(os.path.isabs, places), "")  # "" if the user has no home folder
    return caches and os.path.join(caches, "ialp_jax", "compiled")


def folder_in(parent: Path) -> Path:
    """The folder in ``parent`` for the programs of this version of JAX on this processor."""
    versions = (importlib.metadata.version(name) for name in ("jax", "jaxlib"))
    return parent.absolute() / _NAME.format(*versions, processor())


def processor() -> str:
    """Identifies the processor and the number of usable cores, both of which affect the machine code."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")  # of x86
    wanted += ("Features", "CPU implementer", "CPU variant", "CPU part", "CPU revision")  # of ARM
    facts = [platform.machine(), str(usable_cores())]
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        facts += [f"{name.strip()}={value.strip()}" for name, _, value in pairs if name.strip() in wanted]
    except OSError:  # not on macOS and Windows; there a cache belongs to one machine
        facts += [platform.processor(), platform.node()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def prepare(folder: Path) -> None:
    """Makes the folder, and removes incomplete entries in it and unused folders beside it.

    If a process was killed while it wrote an entry, JAX would never replace the entry, and it could not
    remove old entries any more.

    Raises:
      OSError, filelock.Timeout: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with filelock.FileLock(folder / _LOCK).acquire(timeout=_LOCK_SECONDS):
        probe = folder / f".probe{os.getpid()}"  # also changes the folder's time, the time of the last use
        try:
            probe.write_bytes(bytes(2**16))  # raises an error if the disk is full
        finally:
            probe.unlink(missing_ok=True)
        names = {path.name for path in folder.iterdir()}
        for ending, other in ((_PROGRAM, _USED), (_USED, _PROGRAM)):
            for name in names:
                if name.endswith(ending) and name.removesuffix(ending) + other not in names:
                    (folder / name).unlink(missing_ok=True)
    pattern = _NAME.format(r"[\w.+]+", r"[\w.+]+", "[0-9a-f]{12}")
    for sibling in folder.parent.iterdir():
        if sibling != folder and re.fullmatch(pattern, sibling.name):
            with contextlib.suppress(OSError):
                if time.time() - sibling.stat().st_mtime > UNUSED_DAYS * 24 * 3600:
                    shutil.rmtree(sibling)

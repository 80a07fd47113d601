"""Records how results were made: versions, commit, device and command, for manifests and the page."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import ialp_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "torch", "transformers")
ROOT = Path(__file__).resolve().parents[1]
_GIT_SECONDS = 10.0  # time limit, so that a slow file system does not delay a run


def environment() -> dict[str, Any]:
    """Versions of Python and of the numerical packages, and the device."""
    versions = {"ialp_jax": ialp_jax.__version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    where = {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
        "cpus": os.cpu_count(),
    }
    return {"python": platform.python_version(), "versions": versions, "device": where}


@functools.cache
def commit(root: Path = ROOT) -> dict[str, Any] | None:
    """The current commit of a clone, and whether tracked files differ from it; None outside a clone.

    The code may be a copy inside another git repository. So the result is None if git does not track the
    main program.
    """
    if _git(root, "ls-files", "--error-unmatch", "experiments/main.py") is None:
        return None
    head, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "-uno")
    if head is None:
        return None
    return {"commit": head, "dirty": None if changed is None else bool(changed)}


def _git(root: Path, *args: str) -> str | None:
    """The output of git, or None if git is missing, fails or takes too long."""
    command = ["git", "-C", str(root), "--no-optional-locks", *args]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def command() -> str:
    """The command line of this process, quoted for a shell."""
    arguments = sys.orig_argv if len(sys.orig_argv) > 1 else sys.argv
    return shlex.join(arguments)


def record(seconds: float) -> dict[str, Any]:
    """The provenance of a part that has just been finished.

    Args:
      seconds: time that the part took.

    Returns:
      JSON values: python, versions, device, os, git, command, began (UTC, ISO 8601) and seconds.
    """
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    return {
        **environment(),
        "os": platform.platform(),
        "git": commit(),
        "command": command(),
        "began": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }

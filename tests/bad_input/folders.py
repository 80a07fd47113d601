"""Folders as they are on disk, to be compared before and after a command."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder and what its file holds; the lock apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }

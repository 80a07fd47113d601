"""Finds the files of a published data set, downloads them on request, and reports missing files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ialp_jax.data.config import DataConfig
from ialp_jax.data.download import Archive, fetch
from ialp_jax.errors import InputError


class Published(NamedTuple):
    """One form in which a data set is published.

    Attributes:
      folder: name of the data set's folder under ``--config.data.root``.
      files: names of the files.
      source: address of the publisher's page, and file to download there.
      archives: files that we can download.
    """

    folder: str
    files: tuple[str, ...]
    source: str
    archives: tuple[Archive, ...] = ()


def locate(config: DataConfig, *forms: Published) -> tuple[Path, Published]:
    """Finds the first form whose files are all present; returns the folder of these files and the form.

    The files are in ``root/<folder>`` or in ``root`` itself. With ``config.download``, missing files are
    downloaded into ``root/<folder>``.

    Raises:
      InputError: a file is missing; the message names the file and its folder, and says how to get the file.
    """
    if not config.root:
        one = forms[0]
        raise InputError(
            f"--config.data.root: not set; set the folder that holds {one.folder}/, published at {one.source}"
        )
    root = Path(config.root)
    complete = _complete(root, forms)
    offered = [form for form in forms if form.archives]
    if not complete and config.download and offered:
        fetch(offered[0].archives, root / offered[0].folder, config.sha256)
        complete = _complete(root, forms)
    if complete:
        return complete
    candidates = [(place, form) for form in forms for place in (root / form.folder, root)]
    place, form = max(candidates, key=lambda pair: _present(*pair))
    missing = next(name for name in form.files if not (place / name).is_file())
    download = "" if config.download or not offered else ", or set --config.data.download=true"
    raise InputError(
        f"{missing}: not found in {place}; get it from {form.source} and unpack it there{download}"
    )


def _present(place: Path, form: Published) -> int:
    """Counts how many files of the form are in this folder."""
    return sum((place / name).is_file() for name in form.files)


def _complete(root: Path, forms: tuple[Published, ...]) -> tuple[Path, Published] | None:
    for form in forms:
        for place in (root / form.folder, root):
            if _present(place, form) == len(form.files):
                return place, form
    return None

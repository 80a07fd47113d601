"""Finding a published data set on disk, fetching it where that is wished, saying what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ialp_jax.data.config import DataConfig
from ialp_jax.data.download import Archive, fetch
from ialp_jax.errors import InputError


class Published(NamedTuple):
    """One form in which a data set is published.

    Attributes:
      folder: its name under ``--config.data.root``.
      files: that make it up.
      source: where people get it.
      archives: what can be downloaded.
    """

    folder: str
    files: tuple[str, ...]
    source: str
    archives: tuple[Archive, ...] = ()


def locate(config: DataConfig, *forms: Published) -> tuple[Path, Published]:
    """The folder that holds all files of one of the forms, tried in this order, and that form.

    The files lie in ``root/<folder>`` or in ``root`` itself. With ``config.download`` they are fetched
    into ``root/<folder>`` where they are not found.

    Raises:
      InputError: which file is missing, in which folder, and how to get it.
    """
    if not config.root:
        one = forms[0]
        raise InputError(
            f"--config.data.root: not set; name the folder that holds {one.folder}/, published at "
            f"{one.source}"
        )
    root = Path(config.root)
    found = _complete(root, forms)
    offered = [form for form in forms if form.archives]
    if not found and config.download and offered:
        fetch(offered[0].archives, root / offered[0].folder, config.sha256)
        found = _complete(root, forms)
    if found:
        return found
    candidates = [(place, form) for form in forms for place in (root / form.folder, root)]
    place, form = max(candidates, key=lambda pair: _present(*pair))
    missing = next(name for name in form.files if not (place / name).is_file())
    fetching = "" if config.download or not offered else ", or let --config.data.download=true fetch it"
    raise InputError(
        f"{missing}: not found in {place}; get it from {form.source} and unpack it there{fetching}"
    )


def _present(place: Path, form: Published) -> int:
    """How many of the form's files lie there."""
    return sum((place / name).is_file() for name in form.files)


def _complete(root: Path, forms: tuple[Published, ...]) -> tuple[Path, Published] | None:
    for form in forms:
        for place in (root / form.folder, root):
            if _present(place, form) == len(form.files):
                return place, form
    return None

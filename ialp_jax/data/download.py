"""Fetching what a publisher offers: verified by sha256, unpacked without leaving its folder."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ialp_jax.errors import InputError

LARGEST_UNPACKED = 2**32  # bytes of all files in a zip


class Archive(NamedTuple):
    """A file that a publisher offers.

    Attributes:
      url: where.
      sha256: of the file, or "" where it is not known: then the user has to state it.
      unpack: whether it is a zip to be unpacked; else it is read as it is.
    """

    url: str
    sha256: str = ""
    unpack: bool = False

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.url).name


def fetch(archives: Sequence[Archive], folder: Path, sha256: str) -> None:
    """Brings all archives of a data set into ``folder`` and unpacks what is to be unpacked.

    An archive that lies there with the right hash is not fetched again.

    Args:
      archives: in the publisher's order.
      folder: made where it is missing.
      sha256: ``--config.data.sha256``: comma-separated, one for each archive; "" for the known ones.

    Raises:
      InputError: a hash is not known or differs, or the transfer failed.
    """
    hashes = [part.strip().lower() for part in sha256.split(",") if part.strip()]
    hashes = hashes or [archive.sha256 for archive in archives]
    names = ", ".join(archive.name for archive in archives)
    if len(hashes) != len(archives):
        raise InputError(
            f"--config.data.sha256: {len(hashes)} given, {len(archives)} needed, comma-separated: of {names}"
        )
    for archive, known in zip(archives, hashes, strict=True):
        if not known:
            raise InputError(
                f"--config.data.sha256: no hash of {archive.url} is known; fetch it yourself into {folder}, "
                f"or state the sha256 that you trust, comma-separated, of {names}"
            )
        path = _retrieve(archive.url, known, folder)
        if archive.unpack:
            unpack(path, folder)


def _retrieve(url: str, sha256: str, folder: Path) -> Path:
    """The downloaded file. Nothing stays of a transfer that failed. Raises InputError."""
    import pooch  # late: only those who download need it
    import requests

    path = folder / PurePosixPath(url).name
    if path.is_file() and pooch.file_hash(str(path)) != sha256:  # pooch would replace it
        raise InputError(
            f"{path}: not the file that {url} was known to be (sha256 differs); move it away to download "
            "that one, or state its sha256 by --config.data.sha256"
        )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(pooch.retrieve(url, f"sha256:{sha256}", path.name, folder, downloader=downloader))
    except (requests.RequestException, OSError) as error:
        raise InputError(
            f"{url}: the download failed ({_line(error)}); try again, or fetch it yourself into {folder}"
        ) from None
    except ValueError as error:  # pooch's word for another hash
        raise InputError(
            f"{url}: not the file that was expected ({_line(error)}); if the publisher renewed it and you "
            "trust it, state its --config.data.sha256"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _members(archive: zipfile.ZipFile, name: str) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Files with their path in the folder, less a folder that all share. Raises InputError on escapes."""
    members = []
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or is_link or "\\" in str(path) or ":" in str(path):
            raise InputError(f"{name}: its member {info.filename!r} would leave its folder; do not use it")
        if not info.is_dir():
            members.append((info, path))
    shared = {path.parts[0] for _, path in members if len(path.parts) > 1}
    if len(shared) == 1 and all(len(path.parts) > 1 for _, path in members):
        members = [(info, PurePosixPath(*path.parts[1:])) for info, path in members]
    return members


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a zip into ``folder``, whole or not at all; files that are there already stay as they are.

    Raises:
      InputError: not a zip, a damaged one, or one with members that would land outside ``folder``.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=folder) as scratch:
            members = _members(archive, str(path))
            size = sum(info.file_size for info, _ in members)  # zipfile unpacks no more than this
            if size > LARGEST_UNPACKED:
                raise InputError(
                    f"{path}: unpacks to {size:,} bytes, at most {LARGEST_UNPACKED:,} are written"
                )
            for info, place in members:
                partial = Path(scratch, place)
                partial.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target)
            for _, place in members:
                if not (folder / place).exists():
                    (folder / place).parent.mkdir(parents=True, exist_ok=True)
                    Path(scratch, place).replace(folder / place)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"{path}: cannot be unpacked ({_line(error)})") from None

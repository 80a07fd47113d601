"""Downloads the archives of published data sets: verifies their sha256 and unpacks zips safely."""

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

LARGEST_UNPACKED = 2**32  # maximum bytes of all files in a zip, unpacked


class Archive(NamedTuple):
    """A file that a publisher offers for download.

    Attributes:
      url: its address.
      sha256: sha256 of the file; if it is "", the user must give the sha256.
      unpack: whether it is a zip that must be unpacked.
    """

    url: str
    sha256: str = ""
    unpack: bool = False

    @property
    def name(self) -> str:
        """The file name, the last part of the address."""
        return PurePosixPath(self.url).name


def fetch(archives: Sequence[Archive], folder: Path, sha256: str) -> None:
    """Downloads all archives of a data set into ``folder`` and unpacks the zips.

    Skips the download of an archive that is already in the folder and has the right hash.

    Args:
      archives: in the publisher's order.
      folder: created if it is missing.
      sha256: ``--config.data.sha256``: comma-separated, one for each archive; "" for the known ones.

    Raises:
      InputError: the hash of an archive is not known or does not match, or the download failed.
    """
    hashes = [part.strip().lower() for part in sha256.split(",") if part.strip()]
    hashes = hashes or [archive.sha256 for archive in archives]
    names = ", ".join(archive.name for archive in archives)
    if len(hashes) != len(archives):
        raise InputError(
            f"--config.data.sha256: has {len(hashes)}, needs {len(archives)}, comma-separated, of {names}"
        )
    for archive, known in zip(archives, hashes, strict=True):
        if not known:
            raise InputError(
                f"--config.data.sha256: no hash of {archive.url} is known; download it yourself into "
                f"{folder}, or give the sha256 that you trust, comma-separated, of {names}"
            )
        path = _retrieve(archive.url, known, folder)
        if archive.unpack:
            unpack(path, folder)


def _retrieve(url: str, sha256: str, folder: Path) -> Path:
    """Downloads a file and returns its path; a failed download leaves no file. Raises InputError."""
    import pooch  # not at the top, because only downloads need it
    import requests

    path = folder / PurePosixPath(url).name
    if path.is_file() and pooch.file_hash(str(path)) != sha256:  # pooch would replace it
        raise InputError(
            f"{path}: not the known file of {url} (its sha256 differs); move it away to download that file, "
            "or give the sha256 of yours by --config.data.sha256"
        )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(pooch.retrieve(url, f"sha256:{sha256}", path.name, folder, downloader=downloader))
    except (requests.RequestException, OSError) as error:
        raise InputError(
            f"{url}: the download failed ({_line(error)}); try again, or download it yourself into {folder}"
        ) from None
    except ValueError as error:  # raised by pooch if the hash differs
        raise InputError(
            f"{url}: not the expected file ({_line(error)}); if the publisher replaced it and you trust the "
            "new file, give its sha256 by --config.data.sha256"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _members(archive: zipfile.ZipFile, name: str) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Returns the files of a zip with their paths; removes a top folder that all paths share.

    Raises:
      InputError: a path leads out of the folder.
    """
    members = []
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or is_link or "\\" in str(path) or ":" in str(path):
            raise InputError(
                f"{name}: its member {info.filename!r} would leave the folder; do not use this file"
            )
        if not info.is_dir():
            members.append((info, path))
    shared = {path.parts[0] for _, path in members if len(path.parts) > 1}
    if len(shared) == 1 and all(len(path.parts) > 1 for _, path in members):
        members = [(info, PurePosixPath(*path.parts[1:])) for info, path in members]
    return members


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a zip into ``folder``, completely or not at all; does not change existing files.

    Raises:
      InputError: the file is not a zip or is damaged, or a member would be written outside ``folder``.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=folder) as scratch:
            members = _members(archive, str(path))
            size = sum(info.file_size for info, _ in members)  # zipfile unpacks no more than this
            if size > LARGEST_UNPACKED:
                raise InputError(f"{path}: unpacks to {size:,} bytes; the maximum is {LARGEST_UNPACKED:,}")
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

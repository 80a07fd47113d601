"""Last.fm, hetrec2011-lastfm-2k: who listened to which artist, and the artists' tags.

I. Cantador, P. Brusilovsky, T. Kuflik. HetRec workshop, RecSys 2011. Files: ``artists.dat`` (UTF-8),
``tags.dat`` (ISO-8859-1), ``user_artists.dat``, ``user_taggedartists.dat``; line ends are CRLF or LF. A user
likes each artist that the user listened to. The data has no times of listening: ``ordered`` is False.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ialp_jax.data.assemble import Items, Rows, assemble
from ialp_jax.data.config import DataConfig
from ialp_jax.data.download import Archive
from ialp_jax.data.locate import Published, locate
from ialp_jax.data.tables import rows, whole_number
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

LASTFM = Published(
    folder="lastfm_hetrec2011",
    files=("user_artists.dat", "artists.dat", "tags.dat", "user_taggedartists.dat"),
    source="https://grouplens.org/datasets/hetrec-2011/ (hetrec2011-lastfm-2k.zip)",
    archives=(
        Archive(
            "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
            # The publisher gives no sha256. Several public repositories contain this one.
            "6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
            unpack=True,
        ),
    ),
)
USUAL_MIN_LISTENERS = 5
TAGS_IN_TEXT = 10


def _artists(path: Path) -> dict[int, str]:
    """Maps published artist ids to names, which may be empty."""
    names: dict[int, str] = {}
    for place, (number, name, _, _) in rows(path, ("id", "name", "url", "pictureURL"), "utf-8"):
        artist = whole_number(number, place, "id")
        if artist in names:
            raise InputError(f"{place}: artist id {artist} is listed twice")
        names[artist] = " ".join(name.split())
    return names


def _listened(path: Path, artists: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the published user and artist ids of all rows, int64 [M] each."""
    pairs: dict[tuple[int, int], None] = {}
    for place, fields in rows(path, ("userID", "artistID", "weight"), "ascii"):
        pair = whole_number(fields[0], place, "userID"), whole_number(fields[1], place, "artistID")
        whole_number(fields[2], place, "weight", least=1)
        if pair[1] not in artists:
            raise InputError(f"{place}: artistID {pair[1]} is not in artists.dat")
        if pair in pairs:
            raise InputError(f"{place}: user {pair[0]} and artist {pair[1]} are listed twice")
        pairs[pair] = None
    listened = np.array(list(pairs), np.int64).reshape(-1, 2)
    return listened[:, 0], listened[:, 1]


def _tags(path: Path) -> dict[int, str]:
    """Maps published tag ids to tags."""
    tags: dict[int, str] = {}
    for place, (number, value) in rows(path, ("tagID", "tagValue"), "iso-8859-1"):
        tag = whole_number(number, place, "tagID")
        if tag in tags:
            raise InputError(f"{place}: tag id {tag} is listed twice")
        tags[tag] = " ".join(value.split())
    return tags


def _tagged(
    path: Path, tags: dict[int, str], artists: dict[int, str]
) -> tuple[Counter[tuple[int, int]], int]:
    """Counts how often users gave each tag to each artist, and counts rows of unlisted artists.

    The published file has rows of 390 artists that ``artists.dat`` does not list.
    """
    times: Counter[tuple[int, int]] = Counter()
    unlisted = 0
    header = ("userID", "artistID", "tagID", "day", "month", "year")
    for place, fields in rows(path, header, "ascii"):
        _, artist, tag, *_ = (
            whole_number(text, place, name) for text, name in zip(fields, header, strict=True)
        )
        if tag not in tags:
            raise InputError(f"{place}: tagID {tag} is not in tags.dat")
        if artist in artists:
            times[artist, tag] += 1
        else:
            unlisted += 1
    return times, unlisted


def _categories(
    times: Counter[tuple[int, int]], tags: dict[int, str], ids: list[int], num_tags: int
) -> tuple[np.ndarray, list[str]]:
    """Finds each artist's most used tag among the ``num_tags`` most used tags. In a tie, the smaller id wins.

    Returns:
      The category of each artist, int32 [len(ids)], 0 if the artist has none of these tags; and the names of
      the categories, with ``names[0] == ""``.
    """
    uses: Counter[int] = Counter()
    for (_, tag), count in times.items():
        uses[tag] += count
    frequent = sorted(uses, key=lambda tag: (-uses[tag], tag))[:num_tags]
    number = {tag: index for index, tag in enumerate(frequent, start=1)}
    best: dict[int, tuple[int, int]] = {}
    for (artist, tag), count in times.items():
        if tag in number:
            best[artist] = min(best.get(artist, (0, 0)), (-count, tag))
    category = [number[best[artist][1]] if artist in best else 0 for artist in ids]
    return np.array(category, np.int32), ["", *(tags[tag] for tag in frequent)]


def _text(times: Counter[tuple[int, int]], tags: dict[int, str], ids: list[int]) -> list[str]:
    """Lists the ``TAGS_IN_TEXT`` most used tags of each artist, most used first, then by tag id."""
    of_artist: dict[int, list[tuple[int, int]]] = {artist: [] for artist in ids}
    for (artist, tag), count in times.items():
        of_artist[artist].append((-count, tag))
    return [", ".join(tags[tag] for _, tag in sorted(of_artist[one])[:TAGS_IN_TEXT]) for one in ids]


def load(config: DataConfig) -> Dataset:
    """Reads Last.fm; drops artists without a name or with fewer than ``config.min_users`` listeners.

    With the default of 5 listeners, 2,828 artists and 1,881 users remain. Of these users, 7 have only one
    remaining like and are dropped, so 1,874 users remain.

    Raises:
      InputError: a file is missing or malformed.
    """
    folder, _ = locate(config, LASTFM)
    artists = _artists(folder / "artists.dat")
    user, artist = _listened(folder / "user_artists.dat", artists)
    ids = sorted(artists)
    tags = _tags(folder / "tags.dat")
    times, unlisted = _tagged(folder / "user_taggedartists.dat", tags, artists)
    category, names = _categories(times, tags, ids, config.categories)
    items = Items(
        [artists[number] for number in ids], category, names, _text(times, tags, ids), [[*map(str, ids)]]
    )
    return assemble(
        config,
        Rows(user, np.searchsorted(ids, artist)),
        items,
        ordered=False,
        dropped={"tag rows of unlisted artists": unlisted},
        usual_min_users=USUAL_MIN_LISTENERS,
    )

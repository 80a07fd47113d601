"""MovieLens latest-small: ratings of 0.5 to 5 stars with times, titles and genres.

F. M. Harper, J. A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015. Read from
the publisher's zip as it stands, or from its unpacked ``movies.csv`` and ``ratings.csv``. Ratings of one
user in the same second stay in the order of the file, which is that of the movie ids.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ialp_jax.data.assemble import Items, Rows, assemble, numbered
from ialp_jax.data.config import DataConfig
from ialp_jax.data.download import Archive
from ialp_jax.data.locate import Published, locate
from ialp_jax.data.tables import csv_rows, number, whole_number
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

FOLDER = "ml-latest-small"
SOURCE = "https://grouplens.org/datasets/movielens/latest/ (ml-latest-small.zip)"
ZIP = Published(
    FOLDER,
    (f"{FOLDER}.zip",),
    SOURCE,
    (
        Archive(
            f"https://files.grouplens.org/datasets/movielens/{FOLDER}.zip",
            # Of the version that the publisher generated on 26 September 2018.
            "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        ),
    ),
)
UNPACKED = Published(FOLDER, ("movies.csv", "ratings.csv"), SOURCE)
NO_GENRES = "(no genres listed)"


def _table(folder: Path, name: str, header: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Records of a CSV file, from the zip if it is there. Raises InputError."""
    place, archive = folder / name, folder / f"{FOLDER}.zip"
    try:
        if archive.is_file():
            place = archive / FOLDER / name
            with zipfile.ZipFile(archive) as opened:
                content = opened.read(f"{FOLDER}/{name}")
        else:
            content = place.read_bytes()
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise InputError(f"{place}: cannot be read ({error}); get it again from {SOURCE}") from None
    found, records = csv_rows(io.BytesIO(content), str(place))
    if found != list(header):
        raise InputError(f"{place}:1: header is {found[:8]}, expected {list(header)}")
    return records


def _movies(folder: Path) -> dict[int, tuple[str, list[str]]]:
    """Published movie id -> title and genres."""
    movies: dict[int, tuple[str, list[str]]] = {}
    for place, (text, title, genres) in _table(folder, "movies.csv", ("movieId", "title", "genres")):
        movie = whole_number(text, place, "movieId")
        if movie in movies:
            raise InputError(f"{place}: movieId {movie} stands there twice")
        known = [] if genres == NO_GENRES else [genre for genre in genres.split("|") if genre]
        movies[movie] = " ".join(title.split()), known
    return movies


def _ratings(folder: Path, movies: dict[int, tuple[str, list[str]]]) -> np.ndarray:
    """User id, movie id, rating and time of each row, float64 [M, 4]."""
    found, seen = [], set()
    header = ("userId", "movieId", "rating", "timestamp")
    for place, (user, movie, rating, time) in _table(folder, "ratings.csv", header):
        pair = whole_number(user, place, "userId"), whole_number(movie, place, "movieId")
        if pair[1] not in movies:
            raise InputError(f"{place}: movieId {pair[1]} is not in movies.csv")
        if pair in seen:
            raise InputError(f"{place}: user {pair[0]} and movie {pair[1]} stand there twice")
        seen.add(pair)
        stars = number(rating, place, "rating", least=0.5, most=5.0)
        found.append((*pair, stars, whole_number(time, place, "timestamp")))
    return np.array(found, np.float64).reshape(-1, 4)


def load(config: DataConfig) -> Dataset:
    """Reads MovieLens; a movie's category is the first of its genres, which are in alphabetical order.

    Raises:
      InputError: a file is missing or malformed.
    """
    folder, _ = locate(config, ZIP, UNPACKED)
    movies = _movies(folder)
    table = _ratings(folder, movies)
    table = table[np.argsort(table[:, 3], kind="stable")]
    ids = sorted(movies)
    genres = [movies[movie][1] for movie in ids]
    category, names = numbered([known[0] if known else "" for known in genres])
    return assemble(
        config,
        Rows(table[:, 0].astype(np.int64), np.searchsorted(ids, table[:, 1].astype(np.int64)), table[:, 2]),
        Items([movies[movie][0] for movie in ids], category, names, [", ".join(known) for known in genres]),
        ordered=True,
    )

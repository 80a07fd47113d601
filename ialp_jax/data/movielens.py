"""MovieLens latest-small: ratings of 0.5 to 5 stars with times, titles and genres.

F. M. Harper, J. A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015. We read the
publisher's zip without unpacking it, or the unpacked ``movies.csv`` and ``ratings.csv``. Ratings of one user
in the same second keep the order of the file, which is the order of the movie ids.
"""

from __future__ import annotations

import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ialp_jax.data.assemble import Items, Rows, assemble, numbered_sets
from ialp_jax.data.cells import names
from ialp_jax.data.config import DataConfig
from ialp_jax.data.download import Archive
from ialp_jax.data.locate import Published, locate
from ialp_jax.data.tables import csv_rows, lines_of, number, whole_number
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
            # sha256 of the version of 26 September 2018.
            "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        ),
    ),
)
UNPACKED = Published(FOLDER, ("movies.csv", "ratings.csv"), SOURCE)
LARGEST_MEMBER = 2**28  # maximum bytes of a file in the zip; the largest published file has 2.5 MB
NO_GENRES = "(no genres listed)"


def _lines(folder: Path, name: str) -> Iterator[bytes]:
    """Yields the lines of a file, from the zip if it exists. Raises InputError."""
    place, archive = folder / name, folder / f"{FOLDER}.zip"
    if not archive.is_file():
        with place.open("rb") as file:
            yield from lines_of(file, str(place))
        return
    place = archive / FOLDER / name
    try:
        with zipfile.ZipFile(archive) as opened:
            size = opened.getinfo(f"{FOLDER}/{name}").file_size  # zipfile never unpacks more than this
            if size > LARGEST_MEMBER:
                raise InputError(
                    f"{place}: unpacks to {size:,} bytes; the maximum is {LARGEST_MEMBER:,}; get the zip "
                    f"again from {SOURCE}, or unpack it yourself"
                )
            with opened.open(f"{FOLDER}/{name}") as file:
                yield from lines_of(file, str(place))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{place}: cannot be read ({error}); get it again from {SOURCE}") from None


def _table(folder: Path, name: str, header: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields the records of a CSV file. Raises InputError."""
    inside = (f"{FOLDER}.zip", FOLDER) if (folder / f"{FOLDER}.zip").is_file() else ()
    place = folder.joinpath(*inside, name)
    file_header, records = csv_rows(_lines(folder, name), str(place))
    if file_header != list(header):
        raise InputError(f"{place}:1: header is {file_header[:8]}, expected {list(header)}")
    return records


def _movies(folder: Path) -> dict[int, tuple[str, list[str]]]:
    """Maps published movie ids to titles and genres."""
    movies: dict[int, tuple[str, list[str]]] = {}
    for place, (text, title, genres) in _table(folder, "movies.csv", ("movieId", "title", "genres")):
        movie = whole_number(text, place, "movieId")
        if movie in movies:
            raise InputError(f"{place}: movieId {movie} is listed twice")
        known = "" if genres == NO_GENRES else genres
        movies[movie] = " ".join(title.split()), names(known, place, "genres", "|")
    return movies


def _ratings(folder: Path, movies: dict[int, tuple[str, list[str]]]) -> list[np.ndarray]:
    """Returns user id, movie id, rating and time of each row, [M] each: float64 ratings, the others int64."""
    columns: tuple[array, ...] = (array("q"), array("q"), array("d"), array("q"))
    pairs: set[tuple[int, int]] = set()
    header = ("userId", "movieId", "rating", "timestamp")
    for place, (user, movie, rating, time) in _table(folder, "ratings.csv", header):
        pair = whole_number(user, place, "userId"), whole_number(movie, place, "movieId")
        if pair[1] not in movies:
            raise InputError(f"{place}: movieId {pair[1]} is not in movies.csv")
        if pair in pairs:
            raise InputError(f"{place}: user {pair[0]} and movie {pair[1]} are listed twice")
        pairs.add(pair)
        stars = number(rating, place, "rating", least=0.5, most=5.0)
        row = (*pair, stars, whole_number(time, place, "timestamp"))
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return [np.array(column) for column in columns]


def load(config: DataConfig) -> Dataset:
    """Reads MovieLens; the genres of a movie are its categories.

    Raises:
      InputError: a file is missing or malformed.
    """
    folder, _ = locate(config, ZIP, UNPACKED)
    movies = _movies(folder)
    user, movie, rating, time = _ratings(folder, movies)
    ids = sorted(movies)
    rows = Rows(user, np.searchsorted(ids, movie), rating).at(np.argsort(time, kind="stable"))
    genres = [movies[movie][1] for movie in ids]
    category, known = numbered_sets(genres)
    text = [", ".join(one) for one in genres]
    details = [text, [str(movie) for movie in ids]]
    items = Items([movies[movie][0] for movie in ids], category, known, text, details)
    return assemble(config, rows, items, ordered=True)

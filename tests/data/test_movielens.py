"""Tests that the MovieLens loader reads zip or unpacked files, and orders likes by time."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest

from ialp_jax.data import DataConfig, load
from ialp_jax.errors import InputError

MOVIES = (
    "movieId,title,genres\n"
    '1,"Misérables, Les (1995)",Drama|War\n7,Sabrina (1995),Comedy\n5,Untagged (2000),(no genres listed)\n'
    "9,Unseen (2001),Drama\n"
)


def ratings():
    rows = [(user, *row) for user in range(1, 11) for row in ((1, 3.5, 30), (5, 4.0, 20), (7, 5.0, 10))]
    return "userId,movieId,rating,timestamp\n" + "".join(f"{u},{m},{r},{t}\n" for u, m, r, t in rows)


@pytest.fixture
def folder(tmp_path):
    """Writes the unpacked files."""
    place = tmp_path / "ml-latest-small"
    place.mkdir()
    (place / "movies.csv").write_text(MOVIES, encoding="utf-8")
    (place / "ratings.csv").write_text(ratings())
    return place


def pack(folder):
    """Packs the files into a zip file like the publisher's, and deletes the unpacked files."""
    with zipfile.ZipFile(folder / "ml-latest-small.zip", "w") as archive:
        for name in ("movies.csv", "ratings.csv"):
            archive.write(folder / name, f"ml-latest-small/{name}")
            (folder / name).unlink()


def config(root, **changes):
    return DataConfig(name="movielens", root=str(root), **changes)


@pytest.mark.parametrize("packed", [False, True])
def test_load_reads_the_published_format(folder, packed):
    if packed:
        pack(folder)
    data = load(config(folder.parent))
    assert data.catalogue.titles == ("", "Misérables, Les (1995)", "Untagged (2000)", "Sabrina (1995)")
    assert data.catalogue.text == ("", "Drama, War", "", "Comedy")
    assert data.catalogue.category_names == ("", "Comedy", "Drama", "War")
    assert data.catalogue.categories.tolist() == [[0, 0], [2, 3], [0, 0], [1, 0]]
    rows = data.interactions
    assert rows.ordered
    assert rows.item[:3].tolist() == [3, 2, 1], "in the order of time"
    assert rows.rating[:3].tolist() == [5.0, 4.0, 3.5]
    assert data.histories.of(0).tolist() == [3, 2]
    assert data.dropped["items with no user"] == 1
    assert load(config(folder, like_at=3.5)).histories.of(0).tolist() == [3, 2, 1]


def test_long_ids_and_times_stay_different(folder):
    movies = [10**17 + number for number in range(3)]
    listed = "".join(f"{movie},Film {movie - 10**17} (2000),Drama\n" for movie in movies)
    rows = [(2**59 + user, movie, 5.0, 2**59 - movie) for user in range(10) for movie in movies]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + listed)
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    )
    data = load(config(folder))
    assert data.num_users == 10
    assert data.histories.of(0).tolist() == [3, 2, 1]


BROKEN = {
    "header": ("ratings.csv", 1, "user,movie,rating,time", "expected ['userId'"),
    "field missing": ("ratings.csv", 3, "1,5,4.0", "expected 4 fields"),
    "not a number": ("ratings.csv", 3, "1,5,good,20", "rating is 'good'"),
    "not finite": ("ratings.csv", 3, "1,5,nan,20", "rating is 'nan'"),
    "out of range": ("ratings.csv", 3, "1,5,5.5,20", "0.5..5"),
    "no time": ("ratings.csv", 3, "1,5,4.0,-1", "timestamp is '-1'"),
    "unknown movie": ("ratings.csv", 3, "1,6,4.0,20", "movieId 6 is not in movies.csv"),
    "twice": ("ratings.csv", 3, "1,1,4.0,20", "are listed twice"),
    "movie twice": ("movies.csv", 3, "1,Sabrina (1995),Comedy", "movieId 1 is listed twice"),
    "open quote": ("movies.csv", 2, '1,"Misérables,Drama', "not a CSV record"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_of_malformed_rows_name_file_and_line(folder, case):
    name, number, line, message = BROKEN[case]
    lines = (folder / name).read_text(encoding="utf-8").split("\n")
    lines[number - 1] = line
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    pack(folder)
    with pytest.raises(InputError) as caught:
        load(config(folder.parent))
    assert re.match(rf".*{re.escape(name)}:{number}: ", str(caught.value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_or_wrong_zip_raises_one_line(folder):
    pack(folder)
    path = folder / "ml-latest-small.zip"
    content_of_zip = path.read_bytes()
    for content in (content_of_zip[:-40], content_of_zip.replace(b"Sabrina", b"Sabrine", 1), b"hello"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"movies\.csv: cannot be read .*grouplens"):
            load(config(folder.parent))


def test_error_of_missing_files_names_file_folder_and_publisher(folder):
    (folder / "movies.csv").unlink()
    with pytest.raises(InputError, match=rf"movies\.csv: not found in {folder}; .*grouplens.*download=true"):
        load(config(folder.parent))
    (folder / "ratings.csv").unlink()
    with pytest.raises(InputError, match=r"ml-latest-small\.zip: not found"):
        load(config(folder.parent))


def test_real_files_have_the_published_counts(data_root):
    data = load(config(data_root, min_likes=1))
    assert (data.num_users, len(data.interactions.item)) == (609, 100836 - 20)
    everyone = load(config(data_root, like_at=0.5))
    assert (everyone.num_users, everyone.catalogue.num_items) == (610, 9724)
    assert len(everyone.histories.items) == 100836
    assert everyone.dropped["items with no user"] == 9742 - 9724
    assert int((everyone.interactions.rating >= 4).sum()) == 48580
    assert "Misérables, Les (1995)" in data.catalogue.titles
    assert data.notes == {"shared titles made different": 10}
    assert {"Emma (1996) (Romance)", "Emma (1996) (Comedy, Drama, Romance)"} < {*data.catalogue.titles}
    assert len({title.casefold() for title in data.catalogue.titles}) == data.catalogue.num_items + 1
    assert np.isfinite(data.interactions.rating).all()

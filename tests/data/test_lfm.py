"""The Last.fm loader reads the published format. Its errors name file and line."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ialp_jax.data import DataConfig, load
from ialp_jax.errors import InputError
from ialp_jax.types import EVALUATION, OFFLINE, ONLINE, TUNING

ARTISTS = ((10, "Björk"), (20, "Sigur  Rós"), (30, ""), (40, "Rare Band"), (50, "Muse"))
TAGS = ((1, "electronic"), (2, "chanson française"), (3, "seen live"))


def table(header, rows, end="\r\n"):
    return end.join("\t".join(map(str, row)) for row in [header, *rows]) + end


def listened():
    """Ten users like the artists 10, 20 and 30. User 11 likes only artist 10, user 12 only artist 30.

    Only user 1 likes artist 40.
    """
    rows = [(user, artist, 100 + user) for user in range(1, 11) for artist in (20, 10, 30)]
    return [*rows, (1, 40, 7), (11, 10, 3), (12, 30, 3)]


def tagged():
    rows = [(1, 10, 1), (2, 10, 1), (3, 10, 2), (1, 20, 2), (2, 20, 2), (3, 20, 2), (1, 50, 3), (1, 999, 3)]
    return [(*row, 1, 4, 2009) for row in rows]


@pytest.fixture
def folder(tmp_path):
    """A small folder in the publisher's format."""
    place = tmp_path / "lastfm_hetrec2011"
    place.mkdir()
    header = ("id", "name", "url", "pictureURL")
    artists = [(number, name, "http://a", "http://b") for number, name in ARTISTS]
    (place / "artists.dat").write_bytes(table(header, artists, end="\n").encode("utf-8"))
    (place / "tags.dat").write_bytes(table(("tagID", "tagValue"), TAGS).encode("iso-8859-1"))
    (place / "user_artists.dat").write_bytes(table(("userID", "artistID", "weight"), listened()).encode())
    header = ("userID", "artistID", "tagID", "day", "month", "year")
    (place / "user_taggedartists.dat").write_bytes(table(header, tagged()).encode())
    return place


def config(root, **changes):
    return DataConfig(name="lfm", root=str(root), **changes)


def test_load_reads_the_published_format(folder):
    data = load(config(folder.parent))
    assert data.catalogue.titles == ("", "Björk", "Sigur Rós")
    assert data.num_users == 10
    assert [sorted(data.histories.of(user)) for user in range(10)] == [[1, 2]] * 10
    assert data.interactions.ordered is False
    assert data.interactions.item[:2].tolist() == [2, 1], "interactions stay in the order of the file"
    assert data.truth is None


def test_category_is_the_most_used_frequent_tag_of_an_artist(folder):
    catalogue = load(config(folder.parent)).catalogue
    assert catalogue.category_names == ("", "chanson française", "electronic", "seen live")
    assert catalogue.category.tolist() == [0, 2, 1]
    only = load(config(folder.parent, categories=1)).catalogue
    assert only.category_names == ("", "chanson française")
    assert only.category.tolist() == [0, 1, 1]
    none = load(config(folder.parent, categories=0)).catalogue
    assert none.category.tolist() == [0, 0, 0]


def test_text_lists_the_most_used_tags_first(folder):
    catalogue = load(config(folder.parent)).catalogue
    assert catalogue.text == ("", "electronic, chanson française", "chanson française")
    assert "electronic" not in " ".join(catalogue.titles)


def test_dropped_rows_and_items_are_counted(folder):
    assert load(config(folder.parent)).dropped == {
        "repeated rows of a user and an item": 0,
        "items without a title": 1,
        "rows of items without a title": 11,
        "items with fewer than 5 users": 2,
        "rows of items with fewer than 5 users": 1,
        "users with no like left": 1,
        "users with fewer than 2 likes": 1,
        "rows of users with fewer than 2 likes": 1,
        "items whose users are all dropped": 0,
        "tag rows of unlisted artists": 1,
    }


def test_min_users_drops_artists(folder):
    assert "Rare Band" in load(config(folder.parent, min_users=1)).catalogue.titles
    with pytest.raises(InputError, match=r"--config\.data\.min_users"):
        load(config(folder.parent, min_users=50))


def test_root_may_be_the_folder_itself(folder):
    assert load(config(folder)).num_users == 10


@pytest.mark.parametrize("name", ["artists.dat", "tags.dat", "user_artists.dat", "user_taggedartists.dat"])
def test_error_of_a_missing_file_names_file_folder_and_publisher(folder, name):
    (folder / name).unlink()
    for root in (folder.parent, folder):
        with pytest.raises(InputError) as caught:
            load(config(root))
        message = str(caught.value)
        assert name in message
        assert str(folder) in message
        assert "https://grouplens.org" in message
        assert "\n" not in message


def test_error_of_an_unset_or_empty_root(tmp_path):
    with pytest.raises(InputError, match=r"--config\.data\.root"):
        load(config(""))
    with pytest.raises(InputError, match=r"user_artists\.dat.*lastfm_hetrec2011"):
        load(config(tmp_path))


BROKEN = {
    "too few fields": ("user_artists.dat", 3, b"1\t10", "3 tab-separated fields"),
    "not a number": ("user_artists.dat", 2, b"1\t10\tmany", "weight is 'many'"),
    "not finite": ("user_artists.dat", 2, b"1\t10\tnan", "weight is 'nan'"),
    "negative": ("user_artists.dat", 2, b"-1\t10\t3", "userID is '-1'"),
    "never listened": ("user_artists.dat", 2, b"1\t10\t0", "at least 1"),
    "huge": ("user_artists.dat", 2, b"1\t10\t" + b"9" * 30, "whole number"),
    "unknown artist": ("user_artists.dat", 4, b"1\t77\t3", "artistID 77"),
    "pair twice": ("user_artists.dat", 3, b"1\t20\t3", "twice"),
    "empty line": ("user_artists.dat", 5, b"", "found 1"),
    "other header": ("user_artists.dat", 1, b"user,artist,weight", "header"),
    "artist twice": ("artists.dat", 3, b"10\tagain\tu\tp", "twice"),
    "not utf-8": ("artists.dat", 2, b"10\tBj\xf6rk\tu\tp", "not utf-8"),
    "tag twice": ("tags.dat", 3, b"1\tmetal", "twice"),
    "unknown tag": ("user_taggedartists.dat", 2, b"1\t10\t9\t1\t4\t2009", "tagID 9"),
    "bad date": ("user_taggedartists.dat", 2, b"1\t10\t1\t1\tApril\t2009", "month is 'April'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_of_malformed_rows_name_file_and_line(folder, case):
    name, number, line, message = BROKEN[case]
    lines = (folder / name).read_bytes().split(b"\n")
    lines[number - 1] = line
    (folder / name).write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        load(config(folder.parent))
    assert re.match(rf".*{re.escape(name)}:{number}: ", str(caught.value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_files_have_the_published_counts(data_root):
    data = load(config(data_root))
    single = data.dropped["users with fewer than 2 likes"]
    assert (data.catalogue.num_items, data.num_users + single, single) == (2828, 1881, 7)
    assert len(data.histories.items) == 71426 - single
    assert np.bincount(data.split).tolist() == [len(data.users(part)) for part in range(4)]
    shares = [len(data.users(part)) / data.num_users for part in (OFFLINE, ONLINE, TUNING, EVALUATION)]
    assert shares == pytest.approx([0.5, 0.2, 0.1, 0.2], abs=1e-3)
    assert "MALICE MIZER" not in data.catalogue.titles, "three listeners"
    assert (
        data.catalogue.category_names[data.catalogue.category[data.catalogue.titles.index("Behemoth")]] == ""
    )
    assert data.dropped["tag rows of unlisted artists"] == 1538

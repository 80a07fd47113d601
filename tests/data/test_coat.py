"""Tests that the Coat loader reads ratings and random test ratings, and makes titles from attributes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ialp_jax.data import DataConfig, load
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError

NAMES = (
    "gender:men gender:women jackettype:pea jackettype:other "
    "color:navy color:other onfrontpage:yes onfrontpage:no"
)
FEATURES = ("0 1 1 0 1 0 1 0", "1 0 0 1 0 1 0 1", "1 0 1 0 0 1 0 1", "0 1 0 1 1 0 1 0")
TRAIN = ["5 4 0 1", *["4 0 5 2"] * 9]
TEST = ["0 0 3 0", *["0 5 0 1"] * 9]


@pytest.fixture
def folder(tmp_path):
    """A small folder in the publisher's format, with 10 users and 4 coats."""
    place = tmp_path / "coat"
    (place / "user_item_features").mkdir(parents=True)
    (place / "user_item_features/item_features_map.txt").write_text(NAMES.replace(" ", "\n"))
    for name, lines in (
        ("user_item_features/item_features.ascii", FEATURES),
        ("train.ascii", TRAIN),
        ("test.ascii", TEST),
        ("propensities.ascii", ["0.1 0.2 0.3 0.4"] * 10),
    ):
        (place / name).write_bytes("".join(f"{line} \r\n" for line in lines).encode())
    return place


def config(root, **changes):
    return DataConfig(name="coat", root=str(root), **changes)


def test_titles_are_built_from_the_attributes(folder):
    catalogue = load(config(folder.parent)).catalogue
    assert catalogue.titles == (
        "",
        "Women's navy pea coat, on the front page",
        "Men's coat",
        "Men's pea coat",
        "Women's navy coat, on the front page",
    )
    assert catalogue.category_names == ("", "other", "pea")
    assert catalogue.category.tolist() == [0, 2, 1, 2, 1]


def test_train_ratings_have_propensities(folder):
    data = load(config(folder.parent))
    rows = data.interactions
    assert rows.rating[:3].tolist() == [5, 4, 1]
    assert rows.item[:3].tolist() == [1, 2, 4]
    assert rows.like[:3].tolist() == [True, True, False]
    np.testing.assert_allclose(rows.propensity[:3], [0.1, 0.2, 0.4])
    assert rows.ordered is False
    assert sorted(load(config(folder.parent, like_at=5.0)).histories.of(1)) == [3]


def test_random_ratings_are_separate_and_survive_saving(folder, tmp_path):
    data = load(config(folder.parent))
    assert data.random_test.user[:3].tolist() == [0, 1, 1]
    assert data.random_test.item[:3].tolist() == [3, 2, 4]
    assert data.random_test.rating[:3].tolist() == [3, 5, 1]
    assert data.random_test.like[:3].tolist() == [False, True, False]
    save_dataset(tmp_path / "saved", data, {})
    again = load_dataset(tmp_path / "saved").random_test
    np.testing.assert_array_equal(again.rating, data.random_test.rating)
    assert again.ordered is False


BROKEN = {
    "a column short": ("train.ascii", 2, "4 0 5", "expected 4 space-separated fields"),
    "no rating": ("train.ascii", 2, "4 0 6 2", "item 2 is rated 6"),
    "half a star": ("test.ascii", 3, "0 4.5 0 1", "item 1 is '4.5'"),
    "not finite": ("propensities.ascii", 4, "0.1 nan 0.3 0.4", "item 1 is 'nan'"),
    "no chance": ("propensities.ascii", 4, "0.1 0 0.3 0.4", "item 1 is '0'"),
    "users missing": ("test.ascii", 10, None, "expected 10 lines as in train.ascii"),
    "two colours": ("user_item_features/item_features.ascii", 1, "0 1 1 0 1 1 1 0", "1 for one value"),
    "no attribute": ("user_item_features/item_features_map.txt", 1, "men", "attribute:value"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_of_malformed_files_name_file_and_line(folder, case):
    name, number, line, message = BROKEN[case]
    lines = (folder / name).read_text().split("\n")
    lines[number - 1 : number] = [] if line is None else [line]
    (folder / name).write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        load(config(folder.parent))
    assert re.search(rf"{re.escape(name)}(:\d+)?: ", str(caught.value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["test.ascii", "user_item_features/item_features.ascii"])
def test_error_of_a_missing_file_names_file_folder_and_publisher(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: not found in {folder}; .*cornell.*download=true"):
        load(config(folder.parent))


def test_real_files_have_the_published_counts(data_root):
    data = load(config(data_root))
    assert (data.num_users, data.catalogue.num_items) == (290, 300)
    stars = np.bincount(data.interactions.rating.astype(int)).tolist()
    assert stars == [0, 1901, 1437, 1717, 1275, 630]
    assert np.bincount(data.random_test.rating.astype(int)).tolist() == [0, 1879, 899, 1002, 641, 219]
    assert (np.bincount(data.random_test.user) == 16).all()
    assert data.interactions.propensity.min() >= 0.0025
    assert data.interactions.propensity.max() < 0.691
    assert load(config(data_root, min_likes=2)).dropped["users with fewer than 2 likes"] == 25

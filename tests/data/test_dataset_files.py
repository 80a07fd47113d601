"""Tests that a saved data set is loaded unchanged, and that changed files give errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ialp_jax import store
from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError


@pytest.fixture
def data():
    return load(DataConfig(demo=DemoConfig(users=40, items=60, genres=3)))


def assert_same(one, other):
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(left):
            assert_same(left, right)
        elif isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        elif isinstance(left, tuple) and hasattr(left, "_fields"):
            for before, after in zip(left, right, strict=True):
                np.testing.assert_array_equal(before, after)
        else:
            assert left == right


def test_round_trip(tmp_path, data):
    save_dataset(tmp_path / "data", data, {"stage": "data"})
    assert_same(data, load_dataset(tmp_path / "data"))
    assert store.read_manifest(tmp_path / "data")["stage"] == "data"


def test_round_trip_of_rated_unordered_data_with_unusual_titles(tmp_path, data):
    rows = dataclasses.replace(
        data.interactions,
        rating=np.linspace(1, 5, len(data.interactions.item), dtype=np.float32),
        ordered=False,
    )
    titles = ("", 'Sigur Rós\u2028"\n</b>', *data.catalogue.titles[2:])
    catalogue = dataclasses.replace(data.catalogue, titles=titles, text=("", *titles[1:]))
    rows = dataclasses.replace(rows, propensity=np.linspace(0, 1, len(rows.item), dtype=np.float32))
    random_test = dataclasses.replace(rows, item=rows.item[::-1].copy(), propensity=None)
    several = np.stack([catalogue.category, np.zeros_like(catalogue.category)], axis=1)
    catalogue = dataclasses.replace(catalogue, category=several)
    odd = dataclasses.replace(
        data,
        interactions=rows,
        catalogue=catalogue,
        truth=None,
        random_test=random_test,
        notes={"shared titles made different": 3},
    )
    save_dataset(tmp_path / "data", odd, {})
    assert_same(odd, load_dataset(tmp_path / "data"))


def test_saving_replaces_the_old_folder(tmp_path, data):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "stale.txt").write_text("old")
    store.seal(folder, {})
    save_dataset(folder, data, {})
    assert not (folder / "stale.txt").exists()
    (folder / "mine.txt").write_text("of the user")
    with pytest.raises(InputError, match=r"holds 'mine\.txt', which was not written by this project"):
        save_dataset(folder, data, {})
    assert (folder / "mine.txt").exists()


@pytest.mark.parametrize("name", ["arrays.npz", "catalogue.json"])
def test_error_names_changed_or_missing_files(tmp_path, data, name):
    save_dataset(tmp_path / "data", data, {})
    path = tmp_path / "data" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=name):
        load_dataset(tmp_path / "data")
    path.unlink()
    with pytest.raises(InputError, match=name):
        load_dataset(tmp_path / "data")


def test_loading_another_kind_of_folder_raises(tmp_path):
    store.save(tmp_path / "data", {"user": np.zeros(3)}, {})
    with pytest.raises(InputError, match="not a data set"):
        load_dataset(tmp_path / "data")

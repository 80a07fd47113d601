"""A store is complete or missing, never partial. Altered files are detected."""

from __future__ import annotations

import numpy as np
import pytest

from ialp_jax import store
from ialp_jax.errors import InputError


@pytest.fixture
def saved(tmp_path):
    store.save(tmp_path / "s", {"a": np.arange(5), "b": np.eye(2, dtype=np.float32)}, {"made": "here"})
    return tmp_path / "s"


def test_load_returns_what_save_wrote(saved):
    arrays, manifest = store.load(saved)
    np.testing.assert_array_equal(arrays["a"], np.arange(5))
    assert arrays["b"].dtype == np.float32
    assert manifest["made"] == "here"
    assert list(manifest["files"]) == ["arrays.npz"]


def test_saving_again_removes_the_old_store(saved):
    (saved / "more.txt").write_text("old")
    store.seal(saved, {})
    store.save(saved, {"c": np.zeros(1)}, {})
    assert set(store.load(saved)[0]) == {"c"}
    assert sorted(path.name for path in saved.iterdir()) == ["arrays.npz", "manifest.json"]


@pytest.mark.parametrize("name", ["mine.txt", "deep/mine.csv", ".hidden"])
@pytest.mark.parametrize("write", ["save", "discard"])
def test_a_folder_with_a_file_of_the_user_is_not_replaced(saved, name, write):
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name!r}"):
        store.discard(saved) if write == "discard" else store.save(saved, {"c": np.zeros(1)}, {})
    assert (saved / name).read_text() == "mine"
    assert set(store.load(saved)[0]) == {"a", "b"}
    assert [path.name for path in saved.parent.iterdir()] == ["s"]


def test_a_user_file_that_appears_during_writing_stays(saved):
    def write():
        with store.replacing(saved) as partial:
            store.seal(partial, {})
            (saved / "mine.txt").write_text("mine")

    with pytest.raises(InputError, match=r"holds 'mine\.txt'"):
        write()
    assert (saved / "mine.txt").read_text() == "mine"
    assert set(store.load(saved)[0]) == {"a", "b"}


def test_a_folder_without_manifest_is_not_replaced(tmp_path):
    (tmp_path / "s").mkdir()
    store.save(tmp_path / "s", {"a": np.zeros(1)}, {})  # an empty folder may be replaced
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"holds 'arrays\.npz'"):
        store.save(tmp_path / "s", {"a": np.ones(1)}, {})
    assert store.read_arrays(tmp_path / "s" / "arrays.npz")["a"] == 0


def test_a_link_stays_and_its_target_is_replaced(saved):
    link = saved.with_name("link")
    link.symlink_to(saved)
    store.save(link, {"c": np.zeros(1)}, {})
    assert link.is_symlink()
    assert set(store.load(saved)[0]) == {"c"}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["link", "s"]


def test_a_folder_without_manifest_counts_as_missing(saved):
    (saved / "manifest.json").unlink()
    assert store.read_manifest(saved) is None
    with pytest.raises(InputError, match="incomplete"):
        store.load(saved)


@pytest.mark.parametrize("change", ["flip", "truncate", "remove"])
def test_an_altered_file_is_named(saved, change):
    path = saved / "arrays.npz"
    content = bytearray(path.read_bytes())
    if change == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif change == "truncate":
        path.write_bytes(content[:-7])
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"arrays\.npz"):
        store.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', "\xff"])
def test_a_broken_manifest_is_one_line(saved, text):
    (saved / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest\.json") as error:
        store.read_manifest(saved)
    assert "\n" not in str(error.value)


def test_arrays_of_python_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="objects"):
        store.write_arrays(tmp_path / "x.npz", {"o": np.array([{}], object)})
    np.savez(tmp_path / "y.npz", o=np.array([{}], object))
    with pytest.raises(InputError, match=r"y\.npz"):
        store.read_arrays(tmp_path / "y.npz")


def test_a_compressed_file_is_not_read(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    with pytest.raises(InputError, match=r"x\.npz: not a readable array file \(it is compressed"):
        store.read_arrays(tmp_path / "x.npz")


def test_after_a_failed_write_the_old_file_is_there(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    store.write_json(path, {"old": 1})

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_json(path, {"new": 2})
    assert "old" in path.read_text()


def test_a_fingerprint_ignores_only_the_order_of_keys():
    assert store.fingerprint({"a": 1, "b": [2]}) == store.fingerprint({"b": [2], "a": 1})
    assert store.fingerprint({"a": 1}) != store.fingerprint({"a": 1.5})


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_after_a_failed_save_only_the_old_store_is_there(saved, monkeypatch, where):
    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os if where == "fsync" else type(saved), where, fail)
        with pytest.raises(OSError, match="No space"):
            store.save(saved, {"c": np.zeros(1)}, {})
    assert set(store.load(saved)[0]) == {"a", "b"}
    assert [path.name for path in saved.parent.iterdir()] == ["s"]


def test_the_next_save_removes_the_folder_of_a_killed_process(saved):
    partial = saved.with_name(f".s.{'0a' * 16}{store.PARTIAL}")
    user_folder = saved.with_name(f".s.old{store.PARTIAL}")
    for folder in (partial, user_folder):
        folder.mkdir()
        (folder / "arrays.npz").write_text("half")
    store.save(saved, {"c": np.zeros(1)}, {})
    assert sorted(path.name for path in saved.parent.iterdir()) == [user_folder.name, "s"]

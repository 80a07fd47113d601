"""A resumed training ends with the same bits as an undisturbed one. Damaged checkpoints are not used."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_adapt import bandit, run

from ialp_jax.errors import InputError, NotFiniteError, Terminated
from ialp_jax.training import checkpoint, packing, params
from ialp_jax.training.checkpoint import Checkpoints
from ialp_jax.training.config import CheckpointConfig
from ialp_jax.training.loop import Hooks

EAGER = CheckpointConfig(every=1000, seconds=0, keep=2)
TREE = {
    "key": jax.random.split(jax.random.key(3), 2),
    "flag": jnp.array([True, False]),
    "none": jnp.zeros((2, 0)),
    "half": jnp.full((2, 3), 0.1, jnp.bfloat16),
    "count": (jnp.int32(7), ()),
}


class Killed(Exception):
    pass


class Dying(Checkpoints):
    """Checkpoints that raise an error after a step, like a process that dies at that step."""

    def __init__(self, *args, at=None, **more):
        super().__init__(*args, **more)
        self.at, self.offered = at, []

    def offer(self, step, state, tables):
        super().offer(step, state, tables)
        self.offered.append(step)
        if step == self.at:
            raise Killed


def checkpoints(folder, config=EAGER, fingerprint="f", settings=None, at=None, **more):
    def differences(old, new):
        return ", ".join(f"{n}: {old[n]} -> {new[n]}" for n in new if old[n] != new[n])

    return Dying(folder, config, fingerprint, settings or {"rate": 1}, differences, at=at, **more)


def saved(folder, steps=(1000, 2000), tree=TREE, **more):
    with checkpoints(folder, **more) as saving:
        for step in steps:
            saving.save(step, tree, {"rows": [{"a/b": np.full(2, step)}], "logs": []})
    return folder


def bits(tree):
    leaves = [jax.random.key_data(x) if packing.is_key(x) else x for x in jax.tree.leaves(tree)]
    return [(str(x.dtype), np.asarray(x).tobytes()) for x in leaves]


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def calm():
    return run(bandit(), steps=5000)


def test_a_saved_state_is_restored_bit_for_bit(tmp_path):
    with checkpoints(saved(tmp_path)) as saving:
        restored = saving.restore(jax.tree.map(jnp.zeros_like, TREE) | {"key": TREE["key"]})
    assert restored.step == 2000
    assert bits(restored.state) == bits(TREE)
    assert jax.tree.structure(restored.state) == jax.tree.structure(TREE)
    assert restored.state["half"].committed == TREE["half"].committed
    assert [row.keys() for row in restored.tables["rows"]] == [{"a/b"}]
    np.testing.assert_array_equal(restored.tables["rows"][0]["a/b"], [2000, 2000])


def test_an_adaptation_that_was_interrupted_twice_ends_with_the_same_bits(calm, tmp_path):
    for stop in (2000, 5000):
        with pytest.raises(Killed), checkpoints(tmp_path, at=stop) as saving:
            run(bandit(), steps=5000, hooks=Hooks(saving))
    with checkpoints(tmp_path) as saving:
        same(run(bandit(), steps=5000, hooks=Hooks(saving)), calm)
        assert saving.offered == []
        saving.remove()
    assert not tmp_path.exists()


def test_a_process_that_is_asked_to_end_saves_a_checkpoint(calm, tmp_path):
    calls, never = [], CheckpointConfig(every=1_000_000)

    def stopping():
        calls.append(0)
        return len(calls) == 2

    with (
        pytest.raises(Terminated, match=r"saved at step 2,000; the same command continues"),
        checkpoints(tmp_path, never, stopping=stopping) as saving,
    ):
        run(bandit(), steps=5000, hooks=Hooks(saving))
    with checkpoints(tmp_path) as saving:
        same(run(bandit(), steps=5000, hooks=Hooks(saving)), calm)
        assert saving.offered[0] == 3000


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "recipe", "metadata", "all"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path, damage):
    tree = TREE | {"large": jnp.asarray(np.random.default_rng(0).normal(size=100_000), jnp.float32)}
    newest = saved(tmp_path, tree=tree) / "2000"
    largest = max((newest / "arrays").rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    places = {"recipe": newest / "recipe" / "metadata", "metadata": newest / "arrays" / "_METADATA"}
    path = places.get(damage, largest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage in ("truncate", "metadata") else content)
    if damage == "remove":
        path.unlink()
    if damage == "all":
        shutil.rmtree(newest / "arrays")
    with checkpoints(tmp_path) as saving:
        with pytest.warns(
            UserWarning, match=r"^\S+2000: .*this checkpoint is damaged; an earlier one is used$"
        ):
            assert saving.restore(tree).step == 1000
        saving.save(1500, tree, {})
        saving.save(2000, tree, {})
        assert saving.restore(tree).step == 2000


def test_without_an_intact_checkpoint_a_training_starts_anew(tmp_path):
    path = saved(tmp_path, [1000]) / "1000" / "recipe" / "metadata"
    path.write_bytes(b"")
    with checkpoints(tmp_path) as saving, pytest.warns(UserWarning, match="damaged"):
        assert saving.restore(TREE) is None


def test_an_unfinished_checkpoint_does_not_count_and_is_removed(tmp_path):
    (saved(tmp_path) / "2000").rename(tmp_path / "2000.orbax-checkpoint-tmp")
    with checkpoints(tmp_path) as saving:
        assert saving.restore(TREE).step == 1000
        saving.save(1500, TREE, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1000", "1500"]


def test_one_of_other_settings_is_refused_with_the_difference(tmp_path):
    saved(tmp_path)
    with (
        checkpoints(tmp_path, fingerprint="other", settings={"rate": 2}) as saving,
        pytest.raises(InputError, match=r"^\S+2000: .*other settings \(rate: 1 -> 2\).*--redo$"),
    ):
        saving.restore(TREE)
    with checkpoints(tmp_path, fingerprint="other", settings={"rate": 2}, replace=True) as saving:
        assert saving.restore(TREE) is None
    assert not tmp_path.exists()


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_checkpoints_are_kept(tmp_path, keep):
    saved(tmp_path, range(1000, 5001, 1000), config=CheckpointConfig(keep=keep))
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [5000 - 1000 * n for n in range(keep)][::-1]


def test_checkpoints_are_as_far_apart_as_the_settings_say(tmp_path):
    for name, config in (
        ("steps", CheckpointConfig(every=3000, seconds=0, keep=9)),
        ("seconds", CheckpointConfig(every=1000, seconds=3600, keep=9)),
    ):
        with checkpoints(tmp_path / name, config) as saving:
            for step in range(1000, 10_000, 1000):
                saving.offer(step, TREE, {})
                saving.finish()
    assert sorted(p.name for p in (tmp_path / "steps").iterdir()) == ["3000", "6000", "9000"]
    assert not (tmp_path / "seconds").exists()


def test_the_state_before_a_metric_that_is_not_finite_is_saved(tmp_path):
    def poison(steps, params):
        return jnp.where(steps > 1600, jnp.nan, 0.0)

    never = CheckpointConfig(every=1_000_000)
    for _ in range(2):
        with (
            checkpoints(tmp_path, never) as saving,
            pytest.raises(
                NotFiniteError, match=r"toy: like_rate is nan in env steps 1001 to 2000, seed 0.*/1000$"
            ),
        ):
            run(bandit(0.0, poison), name="toy", hooks=Hooks(saving))
        assert [p.name for p in tmp_path.iterdir()] == ["1000"]


def no_space(*args, **more):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["room", "orbax", "background"])
def test_a_disk_that_is_full_is_one_line_and_the_checkpoint_before_is_intact(tmp_path, monkeypatch, where):
    saved(tmp_path, [1000])
    place, name = {
        "room": (params.os, "posix_fallocate"),
        "orbax": (checkpoint.ocp.CheckpointManager, "save"),
        "background": (checkpoint.ocp.CheckpointManager, "wait_until_finished"),
    }[where]
    with checkpoints(tmp_path) as saving:
        assert saving.restore(TREE).step == 1000
        refused = pytest.raises(
            InputError, match=r"^\S+2000: .*cannot be written.*No space left on device.*$"
        )
        with monkeypatch.context() as patch, refused:
            patch.setattr(place, name, no_space)
            saving.save(2000, TREE, {"rows": [{"a": np.zeros(2)}]})
        assert saving.restore(TREE).step == 1000
    assert [p.name for p in tmp_path.iterdir()] == ["1000"]


def test_impossible_settings_are_refused():
    for change in ({"every": 1500}, {"every": -1000}, {"seconds": -1.0}, {"keep": 0}):
        with pytest.raises(InputError, match=rf"^--config\.checkpoint\.{next(iter(change))}="):
            CheckpointConfig(**change).check()


def test_files_of_others_among_checkpoints_stay(tmp_path):
    folder = saved(tmp_path / "c")
    mine = [folder / "notes.txt", folder / "1000" / "mine.txt", folder / "2000" / "arrays.mine" / "mine.txt"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with checkpoints(folder) as saving:
        saving.remove()
    left = sorted(path for path in folder.rglob("*") if path.is_file())
    assert left == sorted(mine)


def test_a_folder_with_files_of_others_is_no_checkpoint_and_is_not_replaced(tmp_path):
    saved(tmp_path, [1000])
    (tmp_path / "2000").mkdir()
    (tmp_path / "2000" / "mine.txt").write_text("mine")
    with checkpoints(tmp_path) as saving:
        assert saving.restore(TREE).step == 1000
        with pytest.raises(InputError, match=r"2000: .*contains files that this project did not write; move"):
            saving.save(2000, TREE, {})
    assert (tmp_path / "2000" / "mine.txt").read_text() == "mine"

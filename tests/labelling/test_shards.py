import os
import shutil
import time

import numpy as np
import pytest

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.labelling import shards
from ialp_jax.labelling.shards import Batch, Shard
from ialp_jax.llm.modes.answers import Answers


def shard(count=5, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.random((count, 4), np.float32)
    addresses = [generator.bytes(shards.ADDRESS_BYTES) for _ in range(count)]
    return Shard(addresses, Batch(Answers.from_scores(scores), tokens=7, seconds=0.5), series="abc")


def assert_same(one, other):
    assert one.addresses == other.addresses
    assert (one.batch[1:], one.series) == (other.batch[1:], other.series)
    for array, same in zip(one.batch.answers, other.batch.answers, strict=True):
        np.testing.assert_array_equal(array, same)
        assert array.dtype == same.dtype


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_shard_is_read_as_it_was_written(tmp_path, count):
    shards.write(tmp_path / "a.npz", "context", shard(count))
    assert_same(shards.read(tmp_path / "a.npz", "context"), shard(count))


def test_a_shard_of_an_older_version_without_replies_is_read(tmp_path):
    """Such a shard lacks the array ``replies``, and its checksum covers only the other arrays."""
    path, (addresses, (answers, tokens, seconds), series) = tmp_path / "a.npz", shard()
    arrays = {name: array for name, array in answers._asdict().items() if name != "replies"}
    arrays |= {
        "addresses": np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, shards.ADDRESS_BYTES),
        "tokens": np.asarray(tokens),
        "seconds": np.asarray(seconds),
        "series": np.asarray(series),
    }
    arrays["places"] = np.ones((5, 3), np.int8)
    checksum = shards._checksum(path, "context", arrays)
    store.write_arrays(path, arrays | {"sha256": np.asarray(checksum)})
    read_answers = shards.read(path, "context").batch.answers
    assert read_answers.replies.tolist() == [[""] * 3] * 5
    np.testing.assert_array_equal(read_answers.scores, answers.scores)


@pytest.mark.parametrize("change", ["truncated", "inverted", "one bit"])
def test_every_damage_is_noticed(tmp_path, change):
    path = tmp_path / "a.npz"
    shards.write(path, "context", shard())
    good = path.read_bytes()
    refused = 0
    for place in range(0, len(good), 3):
        bad = bytearray(good[:place] if change == "truncated" else good)
        if change != "truncated":
            bad[place] ^= 0xFF if change == "inverted" else 1
        path.write_bytes(bad)
        try:
            # A change that raises no error affected only metadata of the archive, such as a date.
            assert_same(shards.read(path, "context"), shard())
        except InputError:
            refused += 1
    assert refused > len(good) / 3 * 0.7


def test_no_shard_can_replace_another(tmp_path):
    path = tmp_path / "a.npz"
    shards.write(path, "context", shard())
    shutil.copy(path, tmp_path / "b.npz")
    for name, context in (("b.npz", "context"), ("a.npz", "other context")):
        with pytest.raises(InputError, match=f"{name}: altered or truncated"):
            shards.read(tmp_path / name, context)


def test_a_shard_of_pickles_is_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", addresses=np.array([{}], object))
    with pytest.raises(InputError, match=r"a\.npz"):
        shards.read(tmp_path / "a.npz", "context")


def test_partial_files_are_ignored_and_deleted_when_old(tmp_path):
    shards.write(tmp_path / "a.npz", "context", shard())
    names = (f".b.npz.{'1f' * 16}", f".c.npz.{'2f' * 16}", ".gitignore")
    new, old, mine = (tmp_path / name for name in names)
    for path in (new, old, mine):
        path.write_bytes(b"half")
    long_ago = time.time() - shards.STALE_SECONDS - 60
    for path in (old, mine, tmp_path / "a.npz"):
        os.utime(path, (long_ago, long_ago))
    shards.clean(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", new.name, ".gitignore"}
    assert [name for name, _ in shards.scan(tmp_path, "context")] == ["a.npz"]


def test_a_scan_names_damaged_shards_and_skips_those_read_before(tmp_path):
    for name in "cab":
        shards.write(tmp_path / f"{name}.npz", "context", shard())
    (tmp_path / "b.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"b\.npz: not a readable"):
        scanned = list(shards.scan(tmp_path, "context", {"a.npz"}))
    assert [(name, scanned_shard is None) for name, scanned_shard in scanned] == [
        ("b.npz", True),
        ("c.npz", False),
    ]


def test_a_context_is_identified_by_its_facts(tmp_path):
    facts = {"fingerprint": "f", "mode": "likelihood"}
    context = shards.describe(tmp_path, facts, model="first")
    assert context == store.fingerprint(facts) == shards.describe(tmp_path, facts, model="second")
    assert context != shards.describe(tmp_path, {**facts, "mode": "choice"})
    assert '"model": "first"' in (tmp_path / context / shards.CONTEXT).read_text()


def test_a_disk_that_cannot_be_written_gives_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the label store cannot be written"):
        shards.describe(tmp_path / "file", {})
    with pytest.raises(InputError, match=r"a\.npz: cannot be written"):
        shards.write(tmp_path / "file" / "a.npz", "context", shard())

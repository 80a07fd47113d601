"""Compiled programs are kept between runs. They change no result, and a problem with them ends no run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import filelock
import pytest

from experiments.runtime import compilation_cache
from experiments.runtime.compilation_cache import chosen, folder_in, place, prepare, processor, start
from ialp_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
ENTRY = ("jit_f-0123-cache", "jit_f-0123-atime")


@pytest.fixture(autouse=True)
def same_warnings():
    with warnings.catch_warnings():
        yield


def test_the_folder_of_a_setting(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert chosen("auto") == "/home/me/.cache/ialp_jax/compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert chosen("auto") == "/scratch/ialp_jax/compiled"
    assert chosen("off") == chosen("") == ""
    assert chosen("/my/folder") == "/my/folder"


@pytest.mark.parametrize("choice", ["off", ""])
def test_off_changes_nothing(choice):
    environment = {}
    assert start(choice, environment) == ""
    assert environment == {}


@pytest.mark.parametrize("choice", ["OFF", "Off", " "])
def test_off_has_any_case(choice):
    assert chosen(choice) == ""
    assert chosen("AUTO") == chosen("auto")


@pytest.mark.parametrize("choice", ["gs://bucket/x", "none", "False", "1"])
def test_a_url_and_a_word_for_a_switch_are_refused(choice):
    with pytest.raises(InputError, match="must be"):
        chosen(choice)
    assert chosen("./none") == "./none"


def test_the_variable_of_the_user_takes_precedence(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}
    assert place("auto", environment) == ("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert start(str(tmp_path / "cache"), environment) == ""
    assert environment == {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}
    assert not (tmp_path / "cache").exists()


def test_an_empty_variable_switches_the_cache_off(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": ""}
    assert start(str(tmp_path / "cache"), environment) == ""
    assert environment == {"JAX_COMPILATION_CACHE_DIR": ""}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("given", ["HERE/file", "HERE/file/x", "nowhere://bucket/x"])
def test_a_variable_that_names_no_usable_place_is_one_note(tmp_path, given):
    (tmp_path / "file").touch()
    given = given.replace("HERE", str(tmp_path))
    environment = {"JAX_COMPILATION_CACHE_DIR": given}
    note = start("auto", environment)
    assert note.startswith(f"note: JAX_COMPILATION_CACHE_DIR={given}: cannot be used (")
    assert note.isprintable()
    assert environment == {}  # JAX would warn


def test_a_variable_that_names_a_folder_to_read_is_one_note(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    assert "cannot be written; new compiled programs are not kept" in start("auto", environment)
    assert environment == {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}


def test_the_home_folder_in_the_variable_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = {"JAX_COMPILATION_CACHE_DIR": "~/mine"}
    assert start("auto", environment) == ""
    assert environment == {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}


def test_jax_gets_folder_threshold_and_size(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_MAX_SIZE": "17"}
    assert start(str(tmp_path), environment) == ""
    assert environment == {
        "JAX_COMPILATION_CACHE_DIR": str(folder_in(tmp_path)),
        "JAX_COMPILATION_CACHE_MAX_SIZE": "17",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    assert folder_in(tmp_path).stat().st_mode & 0o077 == 0  # nobody else may add programs
    other = {}
    start(str(tmp_path), other)
    assert other["JAX_COMPILATION_CACHE_MAX_SIZE"] == str(2**30)


def test_each_version_and_each_processor_has_its_own_folder(tmp_path, monkeypatch):
    folders, versions = [], {}
    monkeypatch.setattr(compilation_cache.importlib.metadata, "version", lambda name: versions.get(name, "1"))
    for change in ({}, {"jax": "2"}, {"jax": "1", "jaxlib": "2"}):
        versions |= change
        folders.append(folder_in(tmp_path))
    monkeypatch.setattr(compilation_cache, "usable_cores", lambda: 77)
    folders.append(folder_in(tmp_path))
    assert len(set(folders)) == 4


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux only")
def test_processor_features_count_and_its_speed_does_not(monkeypatch):
    text = Path("/proc/cpuinfo").read_text()
    wanted = processor()

    def with_text(changed):
        monkeypatch.setattr(Path, "read_text", lambda *args, **kwargs: changed)
        return processor()

    assert with_text(re.sub(r"cpu MHz.*", "cpu MHz : 1.0", text)) == wanted
    line = next(line for line in text.splitlines() if re.match(r"(flags|Features)\s*:", line))
    assert with_text(text.replace(line, f"{line} one_more_feature")) != wanted


def test_incomplete_entries_are_removed_and_complete_ones_stay(tmp_path):
    for name in (*ENTRY, "jit_g-1-cache", "jit_h-2-atime"):
        (tmp_path / name).write_bytes(b"12345678")
    prepare(tmp_path)
    names = {path.name for path in tmp_path.iterdir()} - {".lockfile"}
    assert names == set(ENTRY)


def test_folders_of_other_versions_are_removed_if_they_are_not_used_any_more(tmp_path):
    old, young = tmp_path / "jax0.1-0.1-0123456789ab", tmp_path / "jax0.1-0.1-ba9876543210"
    foreign = tmp_path / "photos"
    long_ago = time.time() - 100 * 24 * 3600
    for folder in (old, young, foreign):
        folder.mkdir()
        (folder / ENTRY[0]).touch()
        os.utime(folder, (long_ago, long_ago))
    os.utime(young)
    prepare(folder_in(tmp_path))
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_a_folder_that_cannot_be_made_is_one_note_and_the_cache_is_off(tmp_path):
    (tmp_path / "file").touch()
    environment = {}
    note = start(str(tmp_path / "file"), environment)
    assert note.startswith(f"note: {tmp_path / 'file'}")
    assert "cannot be written" in note
    assert "\n" not in note
    assert environment == {}


def test_a_folder_that_cannot_be_written_is_still_read(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    folder_in(tmp_path).mkdir()
    monkeypatch.setattr(Path, "write_bytes", full)
    environment = {}
    assert "No space left on device" in start(str(tmp_path), environment)
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(folder_in(tmp_path))
    assert environment["JAX_COMPILATION_CACHE_MAX_SIZE"] == "-1"  # so JAX takes no lock


def test_a_lock_that_stays_taken_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "_LOCK_SECONDS", 0.1)
    folder_in(tmp_path).mkdir()
    with filelock.FileLock(folder_in(tmp_path) / ".lockfile"):
        assert "its lock is not free" in start(str(tmp_path), {})


PROGRAM = """
import sys
from experiments.runtime import compilation_cache
note = compilation_cache.start(sys.argv[1])
assert "jax" not in sys.modules
import os
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
import jax, jax.numpy as jnp
@jax.jit
def f(x):
    return jnp.sin(x @ x.T).sum(0) / 3 + jax.random.normal(jax.random.key(0), (50,))
print(note, f(jnp.linspace(0, 7, 5000).reshape(50, 100)).tobytes().hex())
"""


def printed(folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    command = [sys.executable, "-W", "default", "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "compilation cache" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_cold_a_warm_a_damaged_and_no_cache_give_the_same_bits(tmp_path):
    bits = printed("off")
    assert printed(tmp_path) == bits
    entries = list(folder_in(tmp_path).glob("jit_f-*-cache"))
    assert len(entries) == 1
    written = entries[0].stat().st_mtime_ns
    assert printed(tmp_path) == bits
    assert entries[0].stat().st_mtime_ns == written  # the program was read
    entries[0].write_bytes(entries[0].read_bytes()[:100])  # as after a power failure
    assert printed(tmp_path) == bits

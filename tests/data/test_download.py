"""Tests downloads from a local server: right files, wrong hashes, broken downloads, unsafe zip files."""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ialp_jax.data import DataConfig, download, lfm, load
from ialp_jax.data.download import Archive, fetch, unpack
from ialp_jax.errors import InputError


def zipped(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def server():
    """Serves ``files``. The download of files in ``cut`` breaks off. ``asked`` lists the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            owner.asked.append(self.path)
            content = owner.files.get(self.path.lstrip("/"))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            broken = self.path.lstrip("/") in owner.cut
            self.wfile.write((content or b"")[: len(content or b"") // 2 if broken else None])

        def log_message(self, *_):
            pass

    owner = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    owner.files, owner.cut, owner.asked = {}, set(), []
    owner.url = f"http://127.0.0.1:{owner.server_port}"
    threading.Thread(target=owner.serve_forever, args=(0.05,), daemon=True).start()
    yield owner
    owner.shutdown()
    owner.server_close()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def archive(server, content, **changes):
    server.files["set.zip"] = content
    return Archive(f"{server.url}/set.zip", sha256(content))._replace(**changes)


def test_zip_is_downloaded_once_and_unpacked_without_its_top_folder(server, tmp_path):
    content = zipped({"coat/a.txt": "one", "coat/in/b.txt": "two"})
    wanted = archive(server, content, unpack=True)
    for _ in range(2):
        fetch([wanted], tmp_path / "new" / "set", "")
    assert (tmp_path / "new" / "set" / "a.txt").read_text() == "one"
    assert (tmp_path / "new" / "set" / "in" / "b.txt").read_text() == "two"
    assert len(server.asked) == 1


def test_existing_files_do_not_change(server, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    fetch([archive(server, zipped({"a.txt": "one", "b.txt": "two"}), unpack=True)], tmp_path, "")
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert (tmp_path / "b.txt").read_text() == "two"


def assert_refused(archives, folder, hashes="", message=""):
    with pytest.raises(InputError) as caught:
        fetch(archives, folder, hashes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(folder.rglob("*")), "nothing is left behind"


def test_wrong_hash_raises(server, tmp_path):
    wanted = archive(server, zipped({"a.txt": "one"}), unpack=True)
    assert_refused([wanted._replace(sha256="0" * 64)], tmp_path, message="does not match")
    assert_refused([wanted], tmp_path, "0" * 64, message="--config.data.sha256")
    fetch([wanted._replace(sha256="0" * 64)], tmp_path, sha256(server.files["set.zip"]).upper())
    assert (tmp_path / "a.txt").exists()


def test_broken_download_raises(server, tmp_path):
    wanted = archive(server, zipped({"a.txt": "one" * 1000}), unpack=True)
    server.cut.add("set.zip")
    assert_refused([wanted], tmp_path, message="the download failed")
    assert_refused([Archive(f"{server.url}/none.zip", "0" * 64)], tmp_path, message="404")
    server.cut.clear()
    fetch([wanted], tmp_path, "")


def test_unreachable_server_raises_one_line(server, tmp_path):
    wanted = archive(server, b"x")
    server.shutdown()
    server.server_close()
    assert_refused([wanted], tmp_path, message="the download failed")


def test_unknown_hashes_must_be_given_for_each_file(server, tmp_path):
    one = archive(server, b"first", sha256="")
    server.files["two.gz"] = b"second"
    both = [one, Archive(f"{server.url}/two.gz")]
    assert_refused(both, tmp_path, message="no hash of")
    assert_refused(both, tmp_path, sha256(b"first"), message="has 1, needs 2")
    assert not server.asked
    fetch(both, tmp_path, f"{sha256(b'first')}, {sha256(b'second')}")
    assert (tmp_path / "two.gz").read_bytes() == b"second"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "in/../../evil", "..\\evil", "C:evil", "link"])
def test_zip_members_outside_the_folder_raise(tmp_path, name):
    member = zipfile.ZipInfo(name)
    if name == "link":
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("fine.txt", "x")
        packed.writestr(member, "/etc/passwd")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="would leave the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "out"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "no zip"])
def test_damaged_zip_leaves_no_files(tmp_path, damage):
    content = bytearray(zipped({"a.txt": bytes(range(256)) * 40, "b.txt": "two"}))
    content[60] ^= 0xFF if damage == "flipped" else 0
    path = tmp_path / "a.zip"
    path.write_bytes({"cut": content[:-30], "flipped": content, "no zip": b"hello"}[damage])
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"a\.zip: cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_zip_that_is_too_large_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_UNPACKED", 1000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/one.dat", "0" * 600)
        archive.writestr("x/two.dat", "0" * 401)
    with pytest.raises(InputError, match=r"a\.zip: unpacks to 1,001 bytes; the maximum is 1,000"):
        unpack(path, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


@pytest.fixture
def published(server, monkeypatch):
    """Puts a tiny Last.fm archive on the server."""
    listened = "".join(f"{user}\t{artist}\t1\r\n" for user in range(10) for artist in (1, 2))
    members = {
        "artists.dat": "id\tname\turl\tpictureURL\n1\tBjörk\tu\tp\n2\tMuse\tu\tp\n",
        "tags.dat": "tagID\ttagValue\r\n1\trock\r\n",
        "user_artists.dat": f"userID\tartistID\tweight\r\n{listened}",
        "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n1\t1\t1\t1\t4\t2009\r\n",
    }
    offered = archive(server, zipped(members), unpack=True)
    monkeypatch.setattr(lfm, "LASTFM", lfm.LASTFM._replace(archives=(offered,)))
    return server


def test_download_setting_fetches_missing_files_and_is_off_by_default(published, tmp_path):
    with pytest.raises(InputError, match=r"--config\.data\.download=true"):
        load(DataConfig(name="lfm", root=str(tmp_path)))
    assert not published.asked
    data = load(DataConfig(name="lfm", root=str(tmp_path), download=True))
    assert data.catalogue.titles == ("", "Björk", "Muse")
    load(DataConfig(name="lfm", root=str(tmp_path), download=True))
    load(DataConfig(name="lfm", root=str(tmp_path)))
    assert len(published.asked) == 1
    with pytest.raises(InputError, match="not the expected file"):
        load(DataConfig(name="lfm", root=str(tmp_path / "other"), download=True, sha256="0" * 64))

"""Downloads against a server on this machine: right file, wrong hash, broken transfer, escapes."""

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
    """Serves ``files``; ``cut`` names those whose transfer breaks off; ``asked`` counts requests."""

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


def test_the_right_file_is_unpacked_without_its_outer_folder_and_fetched_once(server, tmp_path):
    content = zipped({"coat/a.txt": "one", "coat/in/b.txt": "two"})
    wanted = archive(server, content, unpack=True)
    for _ in range(2):
        fetch([wanted], tmp_path / "new" / "set", "")
    assert (tmp_path / "new" / "set" / "a.txt").read_text() == "one"
    assert (tmp_path / "new" / "set" / "in" / "b.txt").read_text() == "two"
    assert len(server.asked) == 1


def test_what_lies_there_already_is_left_alone(server, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    fetch([archive(server, zipped({"a.txt": "one", "b.txt": "two"}), unpack=True)], tmp_path, "")
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert (tmp_path / "b.txt").read_text() == "two"


def refused(archives, folder, hashes="", said=""):
    with pytest.raises(InputError) as caught:
        fetch(archives, folder, hashes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(folder.rglob("*")), "nothing is left behind"


def test_a_wrong_hash_is_refused(server, tmp_path):
    wanted = archive(server, zipped({"a.txt": "one"}), unpack=True)
    refused([wanted._replace(sha256="0" * 64)], tmp_path, said="does not match")
    refused([wanted], tmp_path, "0" * 64, said="--config.data.sha256")
    fetch([wanted._replace(sha256="0" * 64)], tmp_path, sha256(server.files["set.zip"]).upper())
    assert (tmp_path / "a.txt").exists()


def test_a_broken_transfer_is_refused(server, tmp_path):
    wanted = archive(server, zipped({"a.txt": "one" * 1000}), unpack=True)
    server.cut.add("set.zip")
    refused([wanted], tmp_path, said="the download failed")
    refused([Archive(f"{server.url}/none.zip", "0" * 64)], tmp_path, said="404")
    server.cut.clear()
    fetch([wanted], tmp_path, "")


def test_an_unreachable_server_is_one_line(server, tmp_path):
    wanted = archive(server, b"x")
    server.shutdown()
    server.server_close()
    refused([wanted], tmp_path, said="the download failed")


def test_unknown_hashes_must_be_stated_one_for_each_file(server, tmp_path):
    one = archive(server, b"first", sha256="")
    server.files["two.gz"] = b"second"
    both = [one, Archive(f"{server.url}/two.gz")]
    refused(both, tmp_path, said="no hash of")
    refused(both, tmp_path, sha256(b"first"), said="has 1, needs 2")
    assert not server.asked
    fetch(both, tmp_path, f"{sha256(b'first')}, {sha256(b'second')}")
    assert (tmp_path / "two.gz").read_bytes() == b"second"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "in/../../evil", "..\\evil", "C:evil", "link"])
def test_members_that_would_leave_the_folder_are_refused(tmp_path, name):
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
def test_a_damaged_archive_leaves_nothing(tmp_path, damage):
    content = bytearray(zipped({"a.txt": bytes(range(256)) * 40, "b.txt": "two"}))
    content[60] ^= 0xFF if damage == "flipped" else 0
    path = tmp_path / "a.zip"
    path.write_bytes({"cut": content[:-30], "flipped": content, "no zip": b"hello"}[damage])
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"a\.zip: cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_an_archive_that_unpacks_to_too_much_leaves_nothing(tmp_path, monkeypatch):
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
    """A tiny Last.fm on the server."""
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


def test_the_knob_fetches_what_is_missing_and_is_off_by_default(published, tmp_path):
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

"""A damaged file of any format gives a valid data set, or a one-line error that names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_files import FORMATS, assert_sound

from ialp_jax import store
from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.data.config import TabularConfig
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError
from ialp_jax.types import Dataset

NASTY = [
    "",
    " ",
    "0",
    "-1",
    "1",
    "2.5",
    "nan",
    "inf",
    "1e999",
    "1_0",
    "9" * 25,
    "\u0661",
    "\x00",
    '"',
    '"a',
    "\t",
    ",",
]
NASTY += [
    "\r",
    "\n",
    "\u2028",
    "\ufeff",
    "\x1b[31m",
    "</script>",
    "{}",
    "[]",
    "null",
    "true",
    "é",
    "|",
    "u1",
    "i1",
]
ACCIDENTS = ["cell", "cell", "column", "repeat", "lose", "move", "cut", "bytes", "letter", "encode"]
ABOUT_SETTINGS = ("no interaction is left after filtering", "this split is empty")


def _cells(draw: st.DrawFn, line: bytes, separator: bytes) -> bytes:
    cells = line.split(separator)
    place = draw(st.integers(0, len(cells) - 1))
    match draw(st.sampled_from(["replace", "append", "drop", "swap"])):
        case "replace":
            cells[place] = draw(st.sampled_from(NASTY)).encode("utf-8", "surrogatepass")
        case "append":
            cells.insert(place, draw(st.sampled_from(NASTY)).encode())
        case "drop":
            cells.pop(place)
        case "swap":
            cells = cells[place:] + cells[:place]
    return separator.join(cells)


@st.composite
def damaged(draw: st.DrawFn, content: bytes, separator: bytes) -> bytes:
    """Returns the bytes of a file after one to three random changes."""
    for _ in range(draw(st.integers(1, 3))):
        lines = content.split(b"\n")
        line, place = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(content)))
        match draw(st.sampled_from(ACCIDENTS)):
            case "cell":
                lines[line] = _cells(draw, lines[line], separator)
            case "column":
                width = draw(st.integers(0, 3))
                split = [one.split(separator) for one in lines]
                lines = [separator.join([*one[width:], *one[:width]]) for one in split]
            case "repeat":
                lines.insert(draw(st.integers(0, len(lines))), lines[line])
            case "lose":
                lines.pop(line)
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(line))
            case "cut":
                lines = [content[:place]]
            case "bytes":
                lines = [
                    content[:place] + draw(st.binary(max_size=3)) + content[place + draw(st.integers(0, 2)) :]
                ]
            case "letter":  # the smallest change: one flipped bit
                lines = [
                    content[:place] + bytes(b ^ 1 for b in content[place : place + 1]) + content[place + 1 :]
                ]
            case "encode":
                lines = [
                    content.decode("latin-1").encode(draw(st.sampled_from(["utf-16", "utf-8", "utf-8-sig"])))
                ]
        content = b"\n".join(lines)
    return content


def write(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def loaded(config: DataConfig, names: list[str]):
    """Loads the data set. Returns None if loading fails; the error must name a file or a setting."""
    data, message = attempt(lambda: load(config))
    if data is None:
        assert any(name in message for name in (*names, *ABOUT_SETTINGS)), f"names no file: {message}"
    return data


def attempt(read: Callable[[], Dataset]) -> tuple[Dataset | None, str]:
    """Returns a valid data set, or None and the error message, which must be one printable line."""
    message = ""
    try:
        data = read()
    except InputError as error:
        data, message = None, str(error)
    assert message.isprintable()
    if data is not None:
        assert_sound(data)
    return data, message


@pytest.mark.parametrize("name", FORMATS)
def test_undamaged_small_files_load(tmp_path, name):
    kind = FORMATS[name]
    write(tmp_path, kind.files)
    data = loaded(DataConfig(name=kind.world, root=str(tmp_path), min_users=1), [])
    assert data is not None
    assert data.catalogue.num_items > 3


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_damaged_text_gives_one_line_or_a_valid_data_set(tmp_path, name, data):
    kind, files = FORMATS[name], dict(FORMATS[name].files)
    which = data.draw(st.sampled_from(sorted(files)))
    files[which] = data.draw(damaged(files[which], kind.separator.encode()))
    write(tmp_path / "set", files)
    data = loaded(DataConfig(name=kind.world, root=str(tmp_path / "set"), min_users=1), list(files))
    if data is not None and kind.count is not None:
        lost = sum(n for why, n in data.dropped.items() if why.startswith(("repeated rows of", "rows of")))
        assert len(data.interactions.user) + lost == kind.count(files), (
            "each row is used or counted as dropped"
        )


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
)


@given(data=st.data())
def test_damaged_parquet_gives_one_line_or_a_valid_data_set(tmp_path, data):
    """Tries columns of any type, and bytes that are not Parquet."""
    users = [f"u{user}" for user in range(12) for _ in range(4)]
    items = [f"i{(user + 2 * item) % 8}" for user in range(12) for item in range(4)]
    tables = {
        "interactions.parquet": {
            "user_id": users,
            "item_id": items,
            "rating": [4.0] * 48,
            "timestamp": [5] * 48,
        },
        "items.parquet": {"item_id": [f"i{item}" for item in range(8)], "title": list("abcdefgh")},
    }
    which = data.draw(st.sampled_from(sorted(tables)))
    column = data.draw(st.sampled_from(sorted(tables[which])))
    values, kind = tables[which][column], data.draw(CELLS)
    match data.draw(st.sampled_from(["column", "cell", "lose", "bytes"])):
        case "column":
            tables[which][column] = [kind] * len(values)
        case "cell":
            kind = data.draw(st.from_type(type(values[0])) | st.none())
            tables[which][column] = [*values[:-1], kind]
        case "lose":
            tables[which].pop(column)
    (tmp_path / "set").mkdir(exist_ok=True)
    for name, columns in tables.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "set" / name)
    path = tmp_path / "set" / which
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(path.read_bytes(), b"\x00")))
    config = DataConfig(name="tabular", root=str(tmp_path / "set"))
    config.tabular = TabularConfig(interactions="interactions.parquet", items="items.parquet")
    data = loaded(config, list(tables))
    if data is not None:
        lost = sum(n for why, n in data.dropped.items() if why.startswith(("repeated rows of", "rows of")))
        assert len(data.interactions.user) + lost <= 48


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "data"
    save_dataset(folder, load(DataConfig(demo=DemoConfig(users=40, items=60, genres=3))), {})
    return folder


@given(data=st.data())
def test_damaged_data_set_folder_gives_one_line(tmp_path, saved, data):
    """Hashes reveal files that changed after saving. Other checks reveal arrays that were saved wrong."""
    folder = tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    bad = same = False
    if data.draw(st.booleans()):
        path = folder / data.draw(st.sampled_from(["arrays.npz", "catalogue.json", "manifest.json"]))
        content = data.draw(damaged(path.read_bytes(), b","))
        same = content == path.read_bytes()
        bad = not same and path.name != "manifest.json"
        path.write_bytes(content)
    else:
        arrays = store.read_arrays(folder / "arrays.npz")
        name = data.draw(st.sampled_from(sorted(arrays)))
        match data.draw(
            st.sampled_from(["lose", "shift", "cut", "reverse", "float", "object", "nan", "text"])
        ):
            case "lose":
                arrays.pop(name)
            case "shift":
                kind = float if arrays[name].dtype.kind == "f" else int
                arrays[name] = arrays[name].astype(kind) + data.draw(st.sampled_from([-1, 1, 1000]))
            case "cut":
                arrays[name] = arrays[name].reshape(-1)[:-1]
            case "reverse":
                arrays[name] = arrays[name][..., ::-1] if arrays[name].ndim else ~arrays[name]
            case "float":
                arrays[name] = arrays[name].astype(np.float64)
            case "object":
                arrays[name] = arrays[name].astype(object)
            case "nan":
                arrays[name] = np.full(arrays[name].shape, np.nan)
            case "text":
                arrays[name] = arrays[name].astype(str)
        np.savez(folder / "arrays.npz", **arrays)
        store.seal(folder, {})
    data, message = attempt(lambda: load_dataset(folder))
    assert data is None or not bad, "files changed after saving must never load"
    assert data is not None or (str(folder) in message and not same)

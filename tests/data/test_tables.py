"""Tests the readers of text files. Each error is one line that names the file and the line number."""

from __future__ import annotations

import gzip
import io

import pytest

from ialp_jax.data import tables
from ialp_jax.data.tables import csv_rows, json_lines, number, rows
from ialp_jax.errors import InputError


def read(content, **options):
    header, records = csv_rows(io.BytesIO(content), "f.csv", **options)
    return header, list(records)


def test_csv_quotes_line_ends_byte_order_mark_and_blank_lines():
    content = '\ufeffid,title\r\n1,"A ""b"", c"\n\n2,"two\nlines"\r\n3,né\n'.encode()
    header, records = read(content)
    assert header == ["id", "title"]
    assert records == [
        ("f.csv:2", ["1", 'A "b", c']),
        ("f.csv:4", ["2", "two\nlines"]),
        ("f.csv:6", ["3", "né"]),
    ]


def test_csv_separator_and_encoding():
    assert read("a;b\n1;é\n".encode("latin-1"), encoding="latin-1", separator=";")[1][0][1] == ["1", "é"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "f.csv: empty"),
        (b"a,b\n1,2\n3\n", "f.csv:3: expected 2 fields as in the header, found 1"),
        (b"a,b\n1,2,3\n", "f.csv:2: expected 2 fields"),
        (b'a,b\n1,"2\n3,4\n', "f.csv:2: not a CSV record"),
        (b'a,b\n1,2\n1,"2"x\n', "f.csv:3: not a CSV record"),
        (b"a,b\n1,2\n\xe9,4\n", "f.csv:3: not utf-8 text; mend it"),
    ],
)
def test_error_of_a_broken_csv_names_file_and_line(content, message):
    with pytest.raises(InputError) as caught:
        read(content, remedy="mend it")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_lines_and_records_have_a_maximum_length(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LONGEST", 100)
    long, many = b"1," + b"x" * 200, b'1,"' + b"x\n" * 60
    for read_it in (
        lambda: read(b"a,b\n" + many),
        lambda: list(rows(tmp_path / "m", ("a", "b"), "ascii")),
        lambda: list(json_lines(tmp_path / "m")),
    ):
        (tmp_path / "m").write_bytes(long)
        with pytest.raises(InputError, match=r"more than 100 (bytes|characters)"):
            read_it()
    assert read(b"a,b\n" + b"1,2\n" * 100)[1][-1] == ("f.csv:101", ["1", "2"]), "not all records together"


def test_tables_without_header_and_with_spaces(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"1 2 \r\n3  4\n")
    records = [fields for _, fields in rows(path, ("a", "b"), "ascii", headed=False, separator=None)]
    assert records == [["1", "2"], ["3", "4"]]


def test_json_lines_plain_and_gz(tmp_path):
    content = '{"a": 1}\n{"a": "\u2028é"}\n'.encode()
    (tmp_path / "f.json").write_bytes(content)
    (tmp_path / "f.json.gz").write_bytes(gzip.compress(content))
    plain, packed = ([value for _, value in json_lines(tmp_path / n)] for n in ("f.json", "f.json.gz"))
    assert plain == packed == [{"a": 1}, {"a": "\u2028é"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.json", b'{"a": 1}\n{"a": \n', "f.json:2: not JSON"),
        ("f.json", b"{'a': 1}\n", "f.json:1: not JSON"),
        ("f.json", b'{"a": NaN}\n', "NaN is not a number"),
        ("f.json", b"[1]\n", "f.json:1: expected a JSON object"),
        ("f.json", b'{"a": "\xff"}\n', "f.json:1: not utf-8"),
        ("f.json.gz", b'{"a": 1}\n', "not gzip"),
        ("f.json.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "broken off"),
    ],
)
def test_error_of_broken_json_names_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(json_lines(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "", "1_0", None, True, 10**400, 6])
def test_number_accepts_only_finite_values_in_range(value):
    with pytest.raises(InputError, match=r"f:1: rating is .*expected a finite number in 1\.\.5"):
        number(value, "f:1", "rating", least=1.0, most=5.0)
    assert number(" 4.5 ", "f:1", "rating") == 4.5

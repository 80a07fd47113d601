"""Annotations name the element types of tuples."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for name in ("ialp_jax", "experiments", "launch") for path in (ROOT / name).rglob("*.py")]


def annotations(tree: ast.AST) -> Iterator[ast.expr]:
    """Every annotation of an argument, a result or a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            yield node.returns
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            yield node.annotation


def bare_tuples(source: str) -> list[int]:
    """Lines of annotations that hold ``tuple`` without its element types."""
    lines = []
    for annotation in annotations(ast.parse(source)):
        subscripted = {id(node.value) for node in ast.walk(annotation) if isinstance(node, ast.Subscript)}
        names = [node for node in ast.walk(annotation) if isinstance(node, ast.Name) and node.id == "tuple"]
        lines += [name.lineno for name in names if id(name) not in subscripted]
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tuples_have_element_types(path):
    assert bare_tuples(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["def f() -> tuple: ...", "def f(x: list[tuple]): ...", "x: tuple | None = None", "x: dict[str, tuple]"],
)
def test_bare_tuples_are_noticed(source):
    assert bare_tuples(source) == [1]


def test_tuples_with_element_types_pass():
    assert (
        bare_tuples("def f(x: tuple[int, ...], *y: tuple[()]) -> list[tuple[int, str]]: return tuple(x)")
        == []
    )

"""A name with a leading underscore is used only in its module, or by subclasses in the same folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ialp_jax", "experiments", "launch")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PUBLIC = {"_replace", "_asdict", "_fields", "_make"}  # documented methods of named tuples
ALLOWED = {
    ("*", "_exit"),  # os._exit is documented; it is the only way to end a process without clean-up
    # Stable-Baselines3 asks subclasses of VecEnv to use these.
    ("ialp_jax/simulator/adapters/stable_baselines.py", "_get_indices"),
    ("ialp_jax/simulator/adapters/stable_baselines.py", "_seeds"),
    ("ialp_jax/simulator/adapters/stable_baselines.py", "_reset_seeds"),
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def defined_names(tree: ast.Module) -> set[str]:
    """All names that a module binds: functions, classes, variables and attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def foreign_private_names(tree: ast.Module, inherited: set[str]) -> Iterator[tuple[int, str]]:
    """Line and name of each private name that a module uses but does not define.

    Args:
      tree: syntax tree of the module.
      inherited: names that are allowed as attributes of ``self``.
    """
    own = defined_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            parts = [part for alias in node.names for part in alias.name.split(".")]
            parts += (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
            yield from ((node.lineno, part) for part in parts if is_private(part))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            if node.attr not in (own | inherited if of_self else own):
                yield node.lineno, node.attr


def inherited_names(path: Path, trees: dict[Path, ast.Module]) -> set[str]:
    """Names in modules of the same folder that define a base class of a class in ``path``."""
    classes = [node for node in ast.walk(trees[path]) if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base).split(".")[-1] for node in classes for base in node.bases}
    names = set()
    for other, tree in trees.items():
        if other.parent == path.parent and bases & {n.name for n in tree.body if isinstance(n, ast.ClassDef)}:
            names |= defined_names(tree)
    return names


def overridden_private_methods(trees: dict[Path, ast.Module]) -> Iterator[tuple[Path, str]]:
    """Module and name of each private method that overrides a method of a class in another module."""
    methods = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
                methods[path, node.name] = ({ast.unparse(base).split(".")[-1] for base in node.bases}, names)
    for (path, _), (bases, names) in methods.items():
        for (other, base), (_, base_names) in methods.items():
            if base in bases and other != path:
                yield from ((path, name) for name in names & base_names if is_private(name))


def test_no_module_uses_a_private_name_of_another_module():
    trees, uses = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}, []
    for path, tree in trees.items():
        module = path.relative_to(ROOT).as_posix()
        for line, name in foreign_private_names(tree, inherited_names(path, trees)):
            if not {("*", name), (module, name)} & ALLOWED:
                uses.append(f"{module}:{line}: {name}")
    assert not uses, "make the name public, or use a public one"


def test_no_class_overrides_a_private_method_of_another_module():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
    assert list(overridden_private_methods(trees)) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from a import _b", ["_b"]),
        ("from a._b import c", ["_b"]),
        ("import a._b", ["_b"]),
        ("import a\na._b()", ["_b"]),
        ("class A(B):\n    def c(self):\n        return self._d", ["_d"]),
        ("class A:\n    def __init__(self, other):\n        self._d = other._d", []),
        ("import a\na.__name__, a.b._replace(c=1)", []),
    ],
)
def test_the_check_sees_private_names_of_others(source, names):
    assert [name for _, name in foreign_private_names(ast.parse(source), set())] == names


@pytest.mark.parametrize(("folder", "names"), [("room", {"_b"}), ("other", set())])
def test_a_subclass_may_use_private_names_of_its_base_class_in_the_same_folder(folder, names):
    base, derived = "class A:\n    def _b(self): ...", "from room.a import A\nclass C(A): ..."
    trees = {Path("room/a.py"): ast.parse(base), Path(folder, "c.py"): ast.parse(derived)}
    assert inherited_names(Path(folder, "c.py"), trees) & {"_b"} == names


def test_the_check_sees_overridden_private_methods():
    base, derived = "class A:\n    def _b(self): ...", "from a import A\nclass C(A):\n    def _b(self): ..."
    trees = {Path("a.py"): ast.parse(base), Path("c.py"): ast.parse(derived)}
    assert list(overridden_private_methods(trees)) == [(Path("c.py"), "_b")]

"""A layer imports only earlier layers. Training loads neither torch nor transformers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = (  # a layer may import earlier layers and itself
    ("types", "errors"),
    ("settings",),
    ("keys", "mesh", "needed", "store"),
    ("claim",),
    ("data",),
    ("users", "llm", "networks"),
    ("simulator",),
    ("agents",),
    ("training",),
    ("evaluation",),
    ("labelling",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MODULES = sorted((ROOT / "ialp_jax").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_earlier_layers(path):
    room = path.relative_to(ROOT / "ialp_jax").parts[0].removesuffix(".py")
    for name in imports(path):
        assert not name.startswith(("experiments", "launch", "tests"))
        parts = name.split(".")
        if parts[0] != "ialp_jax" or len(parts) < 2 or parts[1] not in RANK or room == "__init__":
            continue
        other = parts[1]
        earlier = RANK[other] < RANK[room] or other == room
        assert earlier, f"{room} must not import {name}"


def test_only_labelling_imports_the_llm():
    for path in MODULES:
        room = path.relative_to(ROOT / "ialp_jax").parts[0]
        if room not in ("llm", "labelling"):
            assert not any(name.startswith("ialp_jax.llm") for name in imports(path)), path


def test_agents_import_no_simulator():
    for path in (ROOT / "ialp_jax" / "agents").glob("*.py"):
        assert not any(name.startswith("ialp_jax.simulator") for name in imports(path)), path


def loaded(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_training_and_the_stages_load_neither_torch_nor_transformers():
    names = loaded("import experiments.stages, ialp_jax.training.adapt")
    assert "jax" in names
    assert not names & {"torch", "transformers", "tokenizers"}


def test_the_llm_worker_loads_no_jax():
    names = loaded("import ialp_jax.labelling.worker_process, ialp_jax.llm.worker.worker")
    assert not names & {"jax", "flax", "gymnax"}


def test_help_needs_neither_jax_nor_torch():
    assert not loaded("import experiments.flags") & {"jax", "torch"}

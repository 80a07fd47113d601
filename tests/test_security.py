"""What the sources must not contain: ways to run what stands in a user's file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for name in ("ialp_jax", "experiments", "launch") for path in (ROOT / name).rglob("*.py")]
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "tarfile"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"system", "popen", "read_pickle", "to_pickle", "extractall", "unpack_archive", "load_source"}
KEYWORDS = {"trust_remote_code": False, "allow_pickle": False, "shell": False, "use_safetensors": True}
NEEDED = {
    "from_pretrained": "trust_remote_code",
    "from_config": "trust_remote_code",
    "LLM": "trust_remote_code",
}
OWN_FORMATS = ("peft.PeftModel.from_pretrained",)  # takes no such argument, and reads a checked folder
PROGRAMS = (
    "experiments/flags.py",
    "launch/jobs.py",
)  # run what the user's flag names: config and sweep files


def faults(source: str) -> list[str]:
    """What in a source must not be there, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {fault}" for fault in _call(node)]
    return found


def _call(node: ast.Call) -> list[str]:
    path = ast.unparse(node.func)
    name, given = path.rpartition(".")[2], {keyword.arg: keyword.value for keyword in node.keywords}
    found = [path] if name in CALLS or path in BUILTINS else []
    found += [path] if path in ("torch.load", "torch.jit.load", "runpy.run_path") else []
    if path in ("np.load", "numpy.load") and "allow_pickle" not in given:
        found.append(f"{path} without allow_pickle=False")
    needed = NEEDED.get(name)
    if needed and needed not in given and path not in OWN_FORMATS:
        found.append(f"{path} without {needed}=False")
    for keyword, value in given.items():
        if keyword in KEYWORDS and not (isinstance(value, ast.Constant) and value.value is KEYWORDS[keyword]):
            found.append(f"{keyword}={ast.unparse(value)}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_a_users_file_is_run(path):
    found = faults(path.read_text(encoding="utf-8"))
    if path.relative_to(ROOT).as_posix() in PROGRAMS:
        assert [fault.partition(" ")[2] for fault in found] == ["runpy.run_path"]
    else:
        assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import os.path, yaml",
        "eval(text)",
        "os.system(text)",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "subprocess.run(text, shell=True)",
        "AutoModelForCausalLM.from_pretrained(folder)",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, use_safetensors=None)",
        "archive.extractall(folder)",
        "pandas.read_pickle(path)",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert faults(source)


def test_the_search_lets_pass_what_is_safe():
    assert not faults("re.compile('a'); np.load(p, allow_pickle=False); subprocess.run([a, b]); model.eval()")

"""The sources contain no call that could run code from a user's file."""

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
OWN_FORMATS = ("peft.PeftModel.from_pretrained",)  # has no such argument; its folder is checked before
# These modules run the config or sweep file that a flag names.
PROGRAMS = (
    "experiments/flags.py",
    "launch/jobs.py",
)


def faults(source: str) -> list[str]:
    """Lists the forbidden imports and calls in a source."""
    faulty = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        faulty += [f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            faulty += [f"{node.lineno}: {fault}" for fault in _call(node)]
    return faulty


def _call(node: ast.Call) -> list[str]:
    path = ast.unparse(node.func)
    name, given = path.rpartition(".")[2], {keyword.arg: keyword.value for keyword in node.keywords}
    faulty = [path] if name in CALLS or path in BUILTINS else []
    faulty += [path] if path in ("torch.load", "torch.jit.load", "runpy.run_path") else []
    if path in ("np.load", "numpy.load") and "allow_pickle" not in given:
        faulty.append(f"{path} without allow_pickle=False")
    needed = NEEDED.get(name)
    if needed and needed not in given and path not in OWN_FORMATS:
        faulty.append(f"{path} without {needed}=False")
    for keyword, value in given.items():
        if keyword in KEYWORDS and not (isinstance(value, ast.Constant) and value.value is KEYWORDS[keyword]):
            faulty.append(f"{keyword}={ast.unparse(value)}")
    return faulty


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_code_from_a_users_file(path):
    faulty = faults(path.read_text(encoding="utf-8"))
    if path.relative_to(ROOT).as_posix() in PROGRAMS:
        assert [fault.partition(" ")[2] for fault in faulty] == ["runpy.run_path"]
    else:
        assert not faulty


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
def test_forbidden_calls_are_noticed(source):
    assert faults(source)


def test_safe_calls_pass():
    assert not faults("re.compile('a'); np.load(p, allow_pickle=False); subprocess.run([a, b]); model.eval()")

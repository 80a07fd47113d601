"""Core modules need only the core dependencies. Other modules name a missing extra in a one-line error."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMPORT_NAMES = {"pytest-xdist": "xdist"}
# `ialp_jax.llm.model` and the worker check the extra before they import these modules.
INNER = re.compile(r"ialp_jax\.llm\.(modes\.\w+|worker\.(estimate|precision|trial))")
# The core packages gymnax, flax and orbax install these dependencies.
IN_CORE = {"matplotlib", "pandas", "gymnasium", "rich", "absl-py", "psutil", "pyyaml", "setuptools"}

WITHOUT = """
import importlib, pkgutil, sys

class WithoutOptional:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in optional else self.finder.find_spec(name, path, target)

optional = set(sys.argv[1:])
sys.meta_path[:] = [WithoutOptional(finder) for finder in sys.meta_path]
"""
IMPORT_ALL = """
import ialp_jax
for module in pkgutil.walk_packages(ialp_jax.__path__, "ialp_jax.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
        print(module.name, "imported", sep="\\t")
    except Exception as error:
        print(module.name, type(error).__name__, error, sep="\\t")
"""


def names(requirements: list[str]) -> set[str]:
    """Names of the required distributions, with their extras."""
    return {re.match(r"[\w.\[\],-]+", line)[0] for line in requirements}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    """Module -> result of its import in a process without optional packages."""
    optional = set().union(*(names(lines) for lines in EXTRAS.values())) - IN_CORE
    blocked = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in optional}
    assert {"torch", "transformers", "ray", "stable_baselines3", "tensorboard", "jinja2"} <= blocked
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + IMPORT_ALL, *blocked, "vllm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: rest for name, *rest in (line.split("\t") for line in done.stdout.splitlines())}


def test_the_core_is_small_and_has_no_torch():
    core = names(PROJECT["dependencies"])
    assert len(core) <= 14
    assert not core & {"torch", "transformers", "ray", "pytest", "ruff", "stable-baselines3"}


def test_no_package_is_listed_twice():
    """Each package and its version are in one list. ``all`` and requirements.txt only refer to the lists."""
    own = [name for lines in EXTRAS.values() for name in names(lines) if not name.startswith("ialp_jax")]
    listed = [*names(PROJECT["dependencies"]), *own]
    assert sorted(listed) == sorted(set(listed))
    assert all(re.search(r"[<>=]", line) for line in PROJECT["dependencies"])


def test_requirements_install_every_extra():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["-e .[all]"]
    everything = EXTRAS["all"][0].removeprefix("ialp_jax[").removesuffix("]").split(",")
    assert len(EXTRAS["all"]) == 1
    assert sorted(everything) == sorted(EXTRAS.keys() - {"all"})


@pytest.mark.slow
def test_core_modules_import_without_optional_packages(outcomes):
    rooms = ("data", "users", "simulator", "networks", "agents", "training", "evaluation", "labelling", "llm")
    for room in rooms:
        assert outcomes[f"ialp_jax.{room}"] == ["imported"]
    failed = {name for name, outcome in outcomes.items() if outcome != ["imported"]}
    core = re.compile(r"ialp_jax\.(data|users|networks|agents|training|evaluation)\b")
    assert not {name for name in failed if core.match(name)}
    assert {"ialp_jax.llm.model", "ialp_jax.simulator.adapters.stable_baselines"} <= failed
    assert "ialp_jax.simulator.adapters.gymnasium_env" not in failed
    assert not {name for name in failed if name.startswith("ialp_jax.labelling")}


@pytest.mark.slow
def test_optional_modules_name_their_extra(outcomes):
    failed = {name: outcome for name, outcome in outcomes.items() if outcome != ["imported"]}
    for name, (kind, text) in failed.items():
        if INNER.fullmatch(name):
            continue
        assert kind == "InputError", f"{name}: {kind}: {text}"
        extra = "gym" if "adapters" in name else "llm"
        assert text.endswith(f"run python -m pip install 'ialp_jax[{extra}]' (in a clone: '.[{extra}]')")
        assert "\n" not in text


def test_without_the_llm_packages_experiments_import_and_the_client_names_the_extra(tmp_path):
    code = """
import experiments.main, experiments.stages, experiments.dry_run
from pathlib import Path
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm.config import LLMConfig
folder = Path(sys.argv[1])
try:
    LLMLabeller(LLMConfig(), folder, folder / "labels", 0).__enter__()
except Exception as error:
    print(type(error).__name__, error)
"""
    packages = [re.match(r"[\w-]+", line)[0] for line in EXTRAS["llm"] + EXTRAS["ray"][1:]]
    script = WITHOUT.replace("sys.argv[1:]", "sys.argv[2:]") + code
    command = [sys.executable, "-c", script, str(tmp_path), *packages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("InputError the LLM needs torch")
    assert "'ialp_jax[llm]'" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_event_files_without_tensorboard_name_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from ialp_jax.training.watch import Watch\n"
        "from pathlib import Path\n"
        "try:\n    Watch(Path(sys.argv[1]), 2)\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("InputError Watch needs tensorboard")
    assert "'ialp_jax[report]'" in done.stdout

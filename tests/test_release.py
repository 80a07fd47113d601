"""The wheel holds exactly the library; citation and changelog have the form that tools expect."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml

import ialp_jax

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Builds the wheel without network, from a copy, so that the project gets no new files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "ialp_jax", source / "ialp_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("experiments", "launch"):  # the wheel must not contain these packages
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_and_no_experiments(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "ialp_jax").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == modules | {"ialp_jax/py.typed"}


def test_its_metadata_list_its_dependencies(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    metadata = HeaderParser().parsestr(text)
    assert metadata["Name"] == "ialp_jax"
    assert metadata["Version"] == ialp_jax.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = metadata.get_all("Requires-Dist")
    core = [re.match(r"[\w.-]+", line)[0] for line in required if "extra ==" not in line]
    assert sorted(core) == sorted(re.match(r"[\w.-]+", line)[0] for line in project["dependencies"])
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(project["optional-dependencies"])


def test_installed_elsewhere_it_makes_a_world(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import ialp_jax, ialp_jax.simulator as s, inspect; print(ialp_jax.__file__)\n"
        "print(inspect.signature(s.make)); import importlib.resources as r\n"
        "print(r.files('ialp_jax').joinpath('py.typed').is_file())"
    )
    # -P keeps the current folder out of the import path. PYTHONPATH comes before installed packages.
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    place, signature, typed = done.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    assert signature.startswith("(name: ")
    assert typed == "True"


def test_the_citation_has_the_fields_of_its_schema():
    """Checks the required fields of the Citation File Format 1.2.0."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == "Apache-2.0"
    assert "version" not in citation  # only ialp_jax/__init__.py states the version
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert work["authors"]
        assert all(author.keys() & {"name", "family-names"} for author in work["authors"])
    assert citation["message"]
    paper = citation["references"][0]
    assert paper["type"] == "article"
    assert paper["url"].endswith(paper["identifiers"][0]["value"].removeprefix("arXiv:"))


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


MODULES = sorted(
    path for name in ("ialp_jax", "experiments", "launch") for path in (ROOT / name).rglob("*.py")
)


def test_references_in_docstrings_exist():
    """Every `ialp_jax.a.b` in backticks is a module, or a name that the module ``ialp_jax.a`` defines."""
    count = 0
    for path in MODULES:
        for reference in re.findall(
            r"`((?:ialp_jax|experiments|launch)(?:\.\w+)+)`", path.read_text("utf-8")
        ):
            *parents, name = reference.split(".")
            files = [ROOT.joinpath(*parents, f"{name}.py"), ROOT.joinpath(*parents, name, "__init__.py")]
            holders = [ROOT.joinpath(*parents).with_suffix(".py"), ROOT.joinpath(*parents, "__init__.py")]
            texts = [holder.read_text("utf-8") for holder in holders if holder.is_file()]
            defined = any(re.search(rf"^(?:def |class |){name}\b", text, re.MULTILINE) for text in texts)
            late = any(f'__all__ = ["{name}"]' in text for text in texts)
            assert defined or late or any(file.is_file() for file in files), f"{path}: {reference}"
            count += 1
    assert count > 30

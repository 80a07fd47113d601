"""Runs the notebook from top to bottom, without a browser, on a small run with the installed packages."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow

nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "launch" / "colab.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def set_form(notebook, **values):
    """Fills in the form as a user does: only the named lines change."""
    cell = next(cell for cell in notebook.cells if cell.id == "settings")
    lines = cell.source.splitlines()
    for name, value in values.items():
        row = next(i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
        lines[row] = f"{name} = {value!r}"
    cell.source = "\n".join(lines)


def text_of(notebook, cell_id):
    """The whole output of a cell."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    parts = [out.get("text", "") or "".join(out.get("data", {}).values()) for out in cell.outputs]
    return "".join(parts)


def test_the_notebook_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_the_notebook_runs_from_top_to_bottom(notebook, tmp_path):
    set_form(notebook, CONFIG="tests/launch/tiny_run.py", RUN=str(tmp_path / "run"), INSTALL=False)
    set_form(notebook, OVERRIDES="--config.adapt.agents=random")
    client = nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    assert "report: " in text_of(notebook, "run")
    table = text_of(notebook, "table")
    assert "random" in table
    assert "final_return" in table
    page = text_of(notebook, "page")
    assert "iframe" in page
    assert "data:image/svg+xml" in page


def test_a_failed_run_stops_the_notebook_and_shows_the_reason(notebook, tmp_path):
    set_form(notebook, CONFIG="no/such.py", RUN=str(tmp_path / "run"), INSTALL=False)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="The run failed"):
        client.execute()
    assert "no such file: no/such.py" in text_of(notebook, "run").replace("\n", " ")

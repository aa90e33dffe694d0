"""Every notebook runs from its first cell to its last, without a key and without a model."""

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def outputs_of(notebook):
    """All that the cells of a notebook have shown."""
    return [each for cell in notebook.cells for each in cell.get("outputs", ())]


@pytest.fixture
def kernel_of_this_folder(monkeypatch):
    """Kernels import the package that is tested, wherever they start."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # plots are shown below their cells
    monkeypatch.setenv("NOTEBOOK_METRIC_CALLS", "24")  # of the one whose task is slow to score


@pytest.mark.usefixtures("kernel_of_this_folder")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    """As a user runs it, with what stands beside it; and there is something to look at."""
    shutil.copy(ROOT / "notebooks" / "stand_in.py", tmp_path)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=600,
        resources={"metadata": {"path": tmp_path}},
    ).execute()
    assert any("image/png" in each.get("data", {}) for each in outputs_of(notebook))
    shown = json.dumps(outputs_of(notebook))
    assert "Warning" not in shown
    assert str(tmp_path) not in shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_shows_is_stored_small_and_names_no_machine(path):
    """Who reads it without running it sees the plots, and nothing of where they were made."""
    notebook = nbformat.read(path, as_version=4)
    outputs = outputs_of(notebook)
    assert any("image/png" in each.get("data", {}) for each in outputs)
    assert path.stat().st_size < 200_000
    texts = json.dumps(
        [{**each, "data": {**each.get("data", {}), "image/png": ""}} for each in outputs]
    )
    for place in ("/home/", "/root/", "/tmp/", "/opt/", "/Users/", "site-packages", "Traceback"):
        assert place not in texts

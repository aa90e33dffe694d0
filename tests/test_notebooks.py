"""Every notebook runs from its first cell to its last, without a key and without a model."""

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from jupyter_client.provisioning import local_provisioner
from nbclient import NotebookClient
from warm_python import FORGET

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def outputs_of(notebook):
    """All that the cells of a notebook have shown."""
    return [each for cell in notebook.cells for each in cell.get("outputs", ())]


KERNEL = f"{FORGET}\nfrom ipykernel.kernelapp import launch_new_instance\nlaunch_new_instance()"


class Kernel:
    """A kernel that has imported what is slow to import, as its manager wants a process."""

    stdin = stdout = stderr = None

    def __init__(self, running):
        self.pid, self.wait = running.pid, running.wait

    def poll(self):
        """Whether it has ended; None while it goes on."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None


@pytest.fixture
def quick_kernels(monkeypatch, warm_python):
    """Kernels import the package that is tested, and nothing else anew."""

    def launch_kernel(command, *, env, cwd=None, **_):
        options = command[command.index("-f") :]
        return Kernel(warm_python.begin(KERNEL, *options, folder=cwd or ROOT, environment=env))

    monkeypatch.setattr(local_provisioner, "launch_kernel", launch_kernel)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # plots are shown below their cells
    monkeypatch.setenv("NOTEBOOK_METRIC_CALLS", "24")  # of the one whose task is slow to score


@pytest.mark.usefixtures("quick_kernels")
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

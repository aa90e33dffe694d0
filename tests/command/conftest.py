"""What a command does to its process is undone: another test would find a config's modules."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _own_path(monkeypatch):
    """A command makes the folder of its config importable, as Python does with a script's."""
    monkeypatch.setattr(sys, "path", list(sys.path))

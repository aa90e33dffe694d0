"""The strategies need Hypothesis, and say so."""

import runpy
import sys

import pytest

from dspy_gepa.errors import MissingExtra


def test_without_hypothesis_the_extra_is_named(monkeypatch):
    """Where Hypothesis is not installed, importing the strategies names the extra to install."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "dspy_gepa.testing.strategies", raising=False)
    with pytest.raises(MissingExtra, match=r"hypothesis is not installed.*dspy_gepa\[dev\]"):
        runpy.run_module("dspy_gepa.testing.strategies")

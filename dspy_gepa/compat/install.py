"""Puts our GEPA in the place of DSPy's, for code that says `dspy.GEPA` and is not to be changed."""

from __future__ import annotations

import dspy
import dspy.teleprompt

from dspy_gepa.gepa import GEPA

__all__ = ["install", "uninstall"]

_PLACES = (dspy, dspy.teleprompt)
"""Where users take the class from."""
_BUILT_IN = dspy.teleprompt.GEPA


def install() -> None:
    """Makes `dspy.GEPA` and `dspy.teleprompt.GEPA` this package's class; twice is as good as once.

    Code that took the built-in class before, by `from dspy import GEPA`, keeps it.
    """
    for place in _PLACES:
        place.GEPA = GEPA


def uninstall() -> None:
    """Makes them DSPy's own class again."""
    for place in _PLACES:
        place.GEPA = _BUILT_IN

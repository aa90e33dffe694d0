"""What the installed DSPy does not have yet, so that a test says why it is skipped."""

from __future__ import annotations

import dspy
import pytest
from packaging.version import Version

__all__ = ["since"]


def since(first: str, what: str) -> pytest.MarkDecorator:
    """Skips a test where DSPy is older than this; `what` is what came with that version."""
    is_older = Version(dspy.__version__) < Version(first)
    reason = f"{what} came with DSPy {first}, and this is {dspy.__version__}"
    return pytest.mark.skipif(is_older, reason=reason)

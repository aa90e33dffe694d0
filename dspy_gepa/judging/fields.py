"""What a program answered, by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

__all__ = ["fields_of"]


def fields_of(output: object) -> dict[str, Any]:
    """Field name to value, of whatever a program answers; empty for None."""
    if output is None:
        return {}
    if isinstance(output, (dspy.Example, Mapping)):
        return {str(name): value for name, value in output.items()}
    return {"output": output}

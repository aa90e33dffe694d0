"""Numbers as people and models write them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

__all__ = ["last_number"]

NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


def last_number(text: Any) -> Fraction | None:
    """The last number of a text, exactly; None if it holds none."""
    found = NUMBER.findall(str(text)) if isinstance(text, (str, int, float)) else []
    return Fraction(found[-1].replace(",", "").replace("−", "-")) if found else None

"""What an answer says: its last number, a whole number, the content of its last box.

Also the rule of the tasks that want one number, and the text of a model's reply.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import dspy
from task import graded

__all__ = ["boxed", "graded_number", "last_number", "reply_text", "text_of", "whole_number"]

NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
WHOLE = re.compile(r"[-+]?[0-9]{1,18}")


def text_of(answer: Any) -> str:
    """The answer as a text without blanks around it; empty if it is neither text nor number."""
    is_plain = isinstance(answer, (str, int, float)) and not isinstance(answer, bool)
    return str(answer).strip() if is_plain else ""


def last_number(answer: Any) -> Fraction | None:
    """The last number of an answer, exactly; None if it holds none."""
    found = NUMBER.findall(text_of(answer))
    return Fraction(found[-1].replace(",", "").replace("−", "-")) if found else None


def graded_number(answer: Any, right: str, worked: str) -> dspy.Prediction:
    """1 if the last number of an answer is the right one; if not, `worked` is told."""
    number = last_number(answer)
    if number is None:
        return graded(0.0, f"The answer holds no number, and one number is wanted. {worked}")
    if number == last_number(right):
        return graded(1.0, f"Right: {right}.")
    return graded(0.0, f"The answer {number} is wrong. {worked}")


def whole_number(answer: Any) -> int | None:
    """The answer, if it is a whole number and nothing else."""
    text = text_of(answer)
    return int(text) if WHOLE.fullmatch(text) else None


def boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} of a text; None if there is none that is closed."""
    start = text.rfind("\\boxed{")
    depth = 0
    for place in range(start + len("\\boxed"), len(text)) if start >= 0 else ():
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + len("\\boxed{") : place].strip()
    return None


def reply_text(reply: Any) -> str:
    """The text of one reply of an LM, empty where it said none.

    DSPy gives a dictionary where a model says more than text: its reasoning, say.
    """
    return str((reply.get("text") if isinstance(reply, dict) else reply) or "")

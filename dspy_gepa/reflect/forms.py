"""Forms other than marks and fences in which a reply names its text: JSON, fields, assignments."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Mapping

__all__ = ["Broken", "in_assignment", "in_fields", "in_json", "in_yaml", "unwrapped"]


class Broken(ValueError):
    """The form is there, and the text is not: says why, as a clause."""


_FIELD = re.compile(
    r"(?:the_)?((?:new|improved|updated|revised|rewritten|final|better|optimi[sz]ed)_?)?"
    r"(?:system_)?(?:instructions?|prompt|text)"
)
_OBJECT_BEGINS = re.compile(
    rf"""\[?\s*\{{\s*(?:"[^"\n]{{1,60}}"|'[^'\n]{{1,60}}'|{_FIELD.pattern})\s*:"""
)
_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*\n?", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Za-z_]{0,40}(?:instructions?|prompt)\s*=\s*", re.IGNORECASE)
_YAML = re.compile(r"([A-Za-z_]{1,40}): *[|>][-+]?[ \t]*\r?\n")
_TAGS = "answer|output|response|final(?:_answer)?|result|solution|tool_call|current_instruction"
_WRAPPERS = (
    rf"<({_TAGS})>(?P<text>.*)</\1>",
    r"<\|begin_of_solution\|>(?P<text>.*)<\|end_of_solution\|>",
    r"\W{0,4}\\boxed\s*\{(?:\s*\\text\s*\{(?P<words>.*)\}|(?P<text>.*))\s*\}\W{0,4}",
)
_WRAPPED = tuple(
    re.compile(rf"\s*{wrapper}\s*", re.IGNORECASE | re.DOTALL) for wrapper in _WRAPPERS
)
_DEEPEST = 3
_LONGEST_LITERAL = 100_000
"""Characters of Python that are read: its parser is slow, and no instruction is as long."""


def unwrapped(answer: str) -> str:
    """What stands in a form around the whole answer (a tag, a box of LaTeX); else the answer."""
    for pattern in _WRAPPED:
        if found := pattern.fullmatch(answer):
            groups = found.groupdict()
            return (groups.get("words") or groups["text"]).strip()
    return answer


def in_json(text: str) -> str | None:
    """What the field for the instruction holds in an object of JSON's or Python's kind.

    None where the text is no such object. A lone string of JSON is what it stands for.

    Raises:
        Broken: the object is cut off, or it has no such field.
    """
    if not text.startswith(("{", "[", '"')):
        return None
    try:
        # Not strict: models write line breaks into strings as they are.
        found, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        if not _OBJECT_BEGINS.match(text):
            return None
        found = _literal(text)
        if found is None:
            raise Broken("it is JSON that was cut off or is malformed") from None
        end = len(text)
    if isinstance(found, str):
        return found.strip() if not text[end:].strip() else None
    if isinstance(found, list) and found and isinstance(found[0], dict):
        found = found[0]
    if not isinstance(found, dict):
        return None
    value = _named(found, _DEEPEST)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    if isinstance(value, str):
        return value.strip()
    raise Broken("it is JSON without the new instruction, as if it answered one of the inputs")


def in_fields(text: str, *, is_truncated: bool) -> str | None:
    """What stands under DSPy's header for the instruction; None where no header begins the text.

    Raises:
        Broken: there are other headers only, or the reply ends before the end of the field.
    """
    headers = list(_HEADER.finditer(text))
    if not headers or text[: headers[0].start()].strip():
        return None
    begins = next((one for one in headers if _FIELD.fullmatch(one[1].lower())), None)
    if begins is None:
        raise Broken("it answers one of the inputs and gives no instruction")
    # A text that speaks of headers may have them in it, so that only the last one ends it.
    ends = [one for one in headers if one[1].lower() == "completed" and one.start() > begins.end()]
    if not ends and is_truncated:
        raise Broken("it was cut off, so the answer has to be shorter")
    return text[begins.end() : ends[-1].start() if ends else len(text)].strip()


def in_assignment(text: str) -> str | None:
    """The string that is assigned to a name for the instruction, as in a program; None without."""
    begins = _ASSIGNMENT.match(text)
    if begins is None:
        return None
    value = _literal(text[begins.end() :].strip())
    return value.strip() if isinstance(value, str) else None


def in_yaml(text: str) -> str | None:
    """The block of lines that YAML gives to a name for the instruction; None without."""
    begins = _YAML.match(text)
    if begins is None or not _FIELD.fullmatch(begins[1].lower()):
        return None
    return textwrap.dedent(text[begins.end() :]).strip()


def _literal(text: str) -> object:
    """What a literal of Python stands for; None where the text is none."""
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found


def _named(fields: Mapping[object, object], depth: int) -> object:
    """The value of the field for the instruction, a new one before any; None without one."""
    named: dict[bool, object] = {}
    for name, value in fields.items():
        words = re.sub(r"[^a-z]+", "_", str(name).lower()).strip("_")
        if field := _FIELD.fullmatch(words):
            named.setdefault(bool(field[1]), value)
    if named:
        return named.get(True, named.get(False))
    if depth:
        inner = (_named(value, depth - 1) for value in fields.values() if isinstance(value, dict))
        return next((value for value in inner if value is not None), None)
    return None

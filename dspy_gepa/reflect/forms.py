"""Forms other than marks and fences in which a reply names its text: JSON, fields, assignments."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Mapping

from dspy_gepa.reflect.talk import is_remark

__all__ = [
    "Broken",
    "in_assignment",
    "in_fields",
    "in_json",
    "in_yaml",
    "is_whole_answer",
    "unwrapped",
]


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
    # Not where the tag closes and opens again: two of them are no form around all of it.
    rf"<({_TAGS})>(?!(?:(?!</?\1>).)*</\1>.*<\1>)(?P<text>.*)</\1>",
    r"<\|begin_of_solution\|>(?P<text>.*)<\|end_of_solution\|>",
    r"\W{0,4}\\boxed\s*\{(?:\s*\\text\s*\{(?P<words>.*)\}|(?P<text>.*))\s*\}\W{0,4}",
)
_WRAPPED = tuple(
    re.compile(rf"\s*{wrapper}\s*", re.IGNORECASE | re.DOTALL) for wrapper in _WRAPPERS
)
_WORD_AFTER = re.compile(r"[,:;]?[ \t]*([^\W\d_])")
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


def is_whole_answer(after: str) -> bool:
    """Whether a form is the answer, by what follows it: nothing, or a remark.

    It is not where a sentence goes on after it, of which it is a word.

    Raises:
        Broken: one cannot tell.
    """
    if is_remark(after):
        return True
    word = _WORD_AFTER.match(after)
    if word is not None and word[1].islower():
        return False
    raise Broken("it is unclear whether the new instruction is all of the reply or a part of it")


def in_json(text: str, *, after: str = "") -> str | None:
    """What the field for the instruction holds in an object of JSON's or Python's kind.

    None where the text is no such object, or a sentence that begins with one. A lone string of
    JSON is what it stands for.

    Args:
        text: What may begin with an object.
        after: What follows the text in the reply.

    Raises:
        Broken: the object is cut off, it has no such field, or it may be a part of a longer text.
    """
    if not text.startswith(("{", "[", '"')):
        return None
    found, end = _decoded(text)
    if isinstance(found, str):
        return found.strip() if not text[end:].strip() else None
    if isinstance(found, list) and found and isinstance(found[0], dict):
        found = found[0]
    if not isinstance(found, dict):
        return None
    named = _named(found, _DEEPEST)
    # Only a name that says that it is new belongs to no example of an input.
    if True not in named and not is_whole_answer(text[end:] + after):
        return None
    value = named.get(True, named.get(False))
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


def _decoded(text: str) -> tuple[object, int]:
    """The value with which the text begins, None if it is none, and where that ends.

    Raises:
        Broken: there is an object that cannot be read.
    """
    try:
        # Not strict: models write line breaks into strings as they are.
        return json.JSONDecoder(strict=False).raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        if not _OBJECT_BEGINS.match(text):
            return None, 0
    found = _literal(text)
    if found is None:
        raise Broken("it is JSON that was cut off or is malformed")
    return found, len(text)


def _literal(text: str) -> object:
    """What a literal of Python stands for; None where the text is none."""
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found


def _named(fields: Mapping[object, object], depth: int) -> Mapping[bool, object]:
    """The values of the fields for the instruction, by whether their name says that it is new."""
    named: dict[bool, object] = {}
    for name, value in fields.items():
        words = re.sub(r"[^a-z]+", "_", str(name).lower()).strip("_")
        if field := _FIELD.fullmatch(words):
            named.setdefault(bool(field[1]), value)
    if named or not depth:
        return named
    inner = (_named(value, depth - 1) for value in fields.values() if isinstance(value, dict))
    return next(filter(None, inner), named)

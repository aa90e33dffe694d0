"""An artifact in a reply without our marks, where only one reading is possible.

The reader of replies takes texts for instructions, which are words. An artifact may be anything:
numbers, JSON, markup, code. So what stands in the one fence of a reply is the artifact, whatever
the fence is called, and markup is not taken apart.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from dspy_gepa.reflect.pieces import fences, trimmed

__all__ = ["ArtifactKind", "kept", "unmarked"]

ArtifactKind = Literal["text", "code"]
"""What an artifact is."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_LONG = 4
"""Characters of a line that says something."""


def kept(component: str, text: str, *, seed: Mapping[str, str]) -> str:
    """A new text as it is evaluated: to the character, but for blank lines around it.

    It ends with a line break where the seed does: a reply has one there or not for reasons of its
    own, and to a file it may matter. For the same reason lines end as the seed's do. If those end
    in several ways it is not known which are meant, and they end in newlines, as replies have them.
    """
    before = seed.get(component, "")
    ends = {*_LINE_END.findall(before)} or {*_LINE_END.findall("".join(seed.values()))}
    text = trimmed(text)
    if len(ends) == 1:
        (end,) = ends
        text = _LINE_END.sub(lambda _old: end, text)
    return text + before[len(before.rstrip("\r\n")) :]


def unmarked(
    reply: str, current: Mapping[str, str], kinds: Mapping[str, ArtifactKind]
) -> dict[str, str]:
    """The texts of a reply without our marks; none where it is unclear what they are."""
    fenced = [trimmed(inside) for _, inside, _, _ in fences(reply)]
    if len(current) > 1:
        return _named(fenced[0] if len(fenced) == 1 else reply, current)
    ((name, old),) = current.items()
    text = _only(reply.strip(), old, fenced, is_code=kinds.get(name) == "code")
    return {name: text} if text else {}


def _only(reply: str, old: str, fenced: Sequence[str], *, is_code: bool) -> str:
    """The one text that can be meant; empty if there is none."""
    if any(fences(old)):
        return ""  # then a fence is a part of such a text
    if not fenced:
        is_alone = (_is_data(reply) and _is_data(old)) or (is_code and _is_python(reply, old))
        return reply if is_alone else ""
    if is_code and len(fenced) > 1:
        # Beside it the current one may be quoted, a command, or what is printed.
        fenced = [text for text in fenced if text != trimmed(old) and _is_of(old, text)]
    return fenced[0] if len(fenced) == 1 else ""


def _named(written: str, current: Mapping[str, str]) -> dict[str, str]:
    """The texts of an object whose fields are components, and nothing else."""
    fields = _loaded(written)
    if not isinstance(fields, dict) or not fields or not set(fields) <= set(current):
        return {}
    return {name: trimmed(text) for name, text in fields.items() if isinstance(text, str)}


def _is_data(text: str) -> bool:
    return isinstance(_loaded(text), (dict, list))


def _loaded(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):  # the latter where it nests a thousand times
        return None


def _is_python(*texts: str) -> bool:
    """Whether each of them is a program, and no talk that happens to be an expression."""
    try:
        trees = [ast.parse(text) for text in texts]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(
        any(not isinstance(statement, ast.Expr) for statement in tree.body) for tree in trees
    )


def _is_of(old: str, text: str) -> bool:
    """Whether the text has a line of the old one, whatever language that is."""
    lines = [re.sub(r"\s+", "", line) for line in old.splitlines()]
    known = {line for line in lines if len(line) >= _LONG}
    return any(re.sub(r"\s+", "", line) in known for line in text.splitlines())

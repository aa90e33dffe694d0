"""Descriptions of the fields of a predictor's signature.

Fields that DSPy's own modules add for themselves, such as `trajectory` or `reasoning`, are no
components, and neither are those that need not be told to a model in words: tools, tool calls and
histories.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import dspy

from dspy_gepa.program.components.part import ComponentKind, Found, plain_text
from dspy_gepa.program.components.places import Place, places_of

__all__ = ["FIELD", "users_outputs"]

_PLACEHOLDER = re.compile(r"\$\{\w+\}")
"""What DSPy puts where nothing is said about a field, and does not show to a model."""
_BUILT_IN = (dspy.History, dspy.Tool, dspy.ToolCalls)


class _Field(NamedTuple):
    predictor: Any
    name: str


def _find(program: dspy.Module) -> Iterator[Found]:
    for component, predictor, added in _predictors(program):
        for name, field in predictor.signature.fields.items():
            if not _is_built_in(field.annotation) and not added(name):
                yield Found(f"{component}.fields.{name}", _Field(predictor, name), (component,))


def _predictors(program: dspy.Module) -> Iterator[tuple[str, Any, Callable[[str], bool]]]:
    """Name, predictor, and a function that says whether DSPy has added a field of some name."""
    places = {id(each): place for place in places_of(program) for each in place.predictors}
    for component, predictor in program.named_predictors():
        yield component, predictor, _added_by_dspy(places.get(id(predictor)))


def users_outputs(program: dspy.Module) -> dict[str, tuple[str, ...]]:
    """Predictor to its output fields, without those that DSPy's own modules add for themselves."""
    return {
        component: tuple(name for name in predictor.signature.output_fields if not added(name))
        for component, predictor, added in _predictors(program)
    }


def _added_by_dspy(place: Place | None) -> Callable[[str], bool]:
    """Says of a field's name whether a module of DSPy has added the field for itself."""
    users: list[Any] = []
    is_reasoned = False
    for around in place.outwards if place is not None else ():
        if not around.is_dspys:
            break
        signature: Any = getattr(around.module, "signature", None)
        if _is_signature(signature):
            users.append(signature.fields)
        is_reasoned = is_reasoned or isinstance(around.module, dspy.ChainOfThought)
    return lambda name: (
        any(name not in fields for fields in users) or (is_reasoned and name == "reasoning")
    )


def _is_built_in(annotation: Any) -> bool:
    if within := get_args(annotation):
        return any(_is_built_in(each) for each in within)
    return isinstance(annotation, type) and issubclass(annotation, _BUILT_IN)


def _is_signature(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, dspy.Signature)


def _read(field: _Field) -> str:
    description = field.predictor.signature.fields[field.name].json_schema_extra.get("desc")
    return "" if description in (None, _placeholder(field.name)) else str(description)


def _write(_component: str, field: _Field, text: str) -> None:
    signature = field.predictor.signature
    rewritten = signature.with_updated_fields(field.name, desc=text or _placeholder(field.name))
    # DSPy takes off indentation each time that it is given an instruction: it keeps the old one.
    rewritten.instructions = signature.__doc__ or ""
    field.predictor.signature = rewritten


def _normalised(text: object) -> str:
    plain = plain_text(text)
    return "" if _PLACEHOLDER.fullmatch(plain) else plain


def _placeholder(name: str) -> str:
    return f"${{{name}}}"


FIELD = ComponentKind(
    name="field description",
    find=_find,
    read=_read,
    write=_write,
    normalised=_normalised,
    is_asked_about=False,
)

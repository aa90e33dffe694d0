"""Fields, tools and their types in few words, for a model that writes a text about them."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import dspy
import pydantic
from dspy.adapters.utils import get_annotation_name
from dspy.adapters.utils import get_field_description_string as described_fields

__all__ = ["fields_in_words", "json_type", "speaks_for_itself", "tool_in_words", "types_in_words"]

_MOST_TYPES = 6
"""Types that are explained."""
_MOST_MEMBERS = 12
"""Choices or fields of a type that are named."""
_LONGEST = 200
"""Characters of what is said about a tool in a list, or about a field of a type."""


def fields_in_words(signature: Any) -> str:
    """The input and the output fields as a model is told of them, and what their types are."""
    lines = [
        f"Its input fields:\n{_fields(signature.input_fields)}",
        f"Its output fields:\n{_fields(signature.output_fields)}",
        *types_in_words(field.annotation for field in signature.fields.values()),
    ]
    return "\n".join(lines)


def speaks_for_itself(signature: Any) -> bool:
    """Whether its fields are texts of which no more is known than their names."""
    return all(
        field.annotation is str
        and field.json_schema_extra.get("desc") in (None, "", f"${{{name}}}")
        and not field.json_schema_extra.get("constraints")
        for name, field in signature.fields.items()
    )


def _fields(fields: Any) -> str:
    # Text is what everybody expects, and a small model that reads of `str` writes Python.
    lines = re.sub(r"(?<=`) \(str\)", "", described_fields(fields))
    return re.sub(r"(?<=[`)]):\s*$", "", lines, flags=re.MULTILINE) or "(none)"


def types_in_words(annotations: Iterable[Any]) -> list[str]:
    """A line for each enumeration and each model of pydantic's that there is in these types."""
    types: dict[str, str] = {}
    pending = list(annotations)
    while pending and len(types) < _MOST_TYPES:
        annotation = pending.pop(0)
        if not isinstance(annotation, type) or get_args(annotation):
            pending.extend(get_args(annotation))
        elif annotation.__name__ in types:
            continue
        elif issubclass(annotation, enum.Enum):
            choices = ", ".join(_first([repr(each.value) for each in annotation]))
            types[annotation.__name__] = f"{annotation.__name__} is one of {choices}."
        elif issubclass(annotation, pydantic.BaseModel) and not issubclass(annotation, dspy.Type):
            fields = annotation.model_fields
            members = [_member(name, field) for name, field in fields.items()]
            types[annotation.__name__] = f"{annotation.__name__} has {'; '.join(_first(members))}."
            pending.extend(field.annotation for field in fields.values())
    return list(types.values())


def tool_in_words(name: str, schemas: Mapping[str, Any], description: str = "") -> str:
    """How a tool is called, and what is said about it."""
    called = ", ".join(f"{each}: {json_type(schema)}" for each, schema in schemas.items())
    words = " ".join(description.split())[:_LONGEST]
    return f"{name}({called})" + (f": {words}" if words else "")


def json_type(schema: Any) -> str:
    """A JSON schema in few words."""
    if not isinstance(schema, Mapping):
        return "anything"
    default = f" = {schema['default']!r}" if "default" in schema else ""
    return " or ".join(dict.fromkeys(_json_names(schema))) + default


def _json_names(schema: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in schema or "const" in schema:
        yield from _first([repr(each) for each in schema.get("enum", [schema.get("const")])])
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _json_names(each)
    elif schema.get("type") == "array":
        yield f"array of {json_type(schema.get('items', {}))}"
    elif schema.get("properties"):
        yield "object with " + ", ".join(_first(list(schema["properties"])))
    else:
        yield str(schema.get("type", "anything"))


def _member(name: str, field: Any) -> str:
    words = f" ({' '.join(field.description.split())[:_LONGEST]})" if field.description else ""
    return f"{name}: {get_annotation_name(field.annotation)}{words}"


def _first(names: list[str]) -> list[str]:
    left_out = len(names) - _MOST_MEMBERS
    return names if left_out <= 0 else [*names[:_MOST_MEMBERS], f"and {left_out} more"]

"""Structured output: whether it is JSON, and whether it is the JSON that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import dspy
import pydantic
import pydantic_core

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.metrics.fields import MISSING, answer_in, field_of, quoted, scored_nothing

__all__ = ["ValidAgainst", "ValidJSON"]

_FENCED = re.compile(r"\s*```\w*\s*\n(.*)\n\s*```\s*", re.DOTALL)
_AROUND = 30
"""Characters that are shown on both sides of where the text stops being JSON."""
_MOST_VIOLATIONS = 20
"""How many are told: more say nothing new."""


class _Read(NamedTuple):
    value: Any
    problem: str
    """Why there is no value; empty if there is one."""


@dataclass(frozen=True, slots=True)
class ValidJSON:
    """1 if the output is JSON, as RFC 8259 has it, else 0.

    A text is read. Any other value is JSON where pydantic can write it so, as it can with dicts,
    lists, models and dates.
    """

    field: str | None = None
    """Which field to read; by default the example's only label."""

    def __call__(
        self,
        gold: dspy.Example,
        pred: object,
        trace: object = None,  # noqa: ARG002 - other optimizers pass one
        *_: object,  # dspy.GEPA passes two more
    ) -> Feedback:
        """The score, and where the text stops being JSON.

        Raises:
            MetricError: it is not clear which field to read.
        """
        field = field_of(self, self.field, gold, pred)
        problem = _read_from(field, pred).problem
        return Feedback(float(not problem), problem or f"{field} is valid JSON.")


@dataclass(frozen=True, slots=True)
class ValidAgainst:
    """1 if the output is JSON of this schema, else 0.

    Raises:
        WrongType: the schema is neither a pydantic model nor a dictionary.
        SettingsError: the dictionary is no JSON schema.
    """

    schema: type[pydantic.BaseModel] | Mapping[str, Any]
    """A pydantic model, or a JSON schema (draft 2020-12 unless its "$schema" names another)."""
    field: str | None = None
    """Which field to read; by default the example's only label."""
    _: KW_ONLY
    is_strict: bool = False
    """Whether pydantic takes the exact types only: no text for a number, say."""

    def __post_init__(self) -> None:
        if isinstance(self.schema, Mapping):
            _validator(self.schema)
        elif not (isinstance(self.schema, type) and issubclass(self.schema, pydantic.BaseModel)):
            raise WrongType(
                f"The schema is {self.schema!r:.200}. Pass a class made from pydantic.BaseModel, "
                "or a JSON schema as a dict."
            )

    def __call__(
        self,
        gold: dspy.Example,
        pred: object,
        trace: object = None,  # noqa: ARG002 - other optimizers pass one
        *_: object,  # dspy.GEPA passes two more
    ) -> Feedback:
        """The score, and every violation with the path to it.

        Raises:
            MetricError: it is not clear which field to read.
        """
        field = field_of(self, self.field, gold, pred)
        read = _read_from(field, pred)
        if read.problem:
            return Feedback(0.0, read.problem)
        found = self._violations(read.value)
        # Pydantic has checked an instance already, and may read other names than it writes.
        if not found or self._is_of_schema(answer_in(field, pred)):
            return Feedback(1.0, f"{field} is valid.")
        lines = [f"{field} is JSON, but not of the form that is needed:", *found[:_MOST_VIOLATIONS]]
        if len(found) > _MOST_VIOLATIONS:
            lines.append(f"[... {len(found) - _MOST_VIOLATIONS:,} violations left out ...]")
        return Feedback(0.0, "\n".join(lines))

    def _is_of_schema(self, value: object) -> bool:
        return isinstance(self.schema, type) and isinstance(value, self.schema)

    def _violations(self, value: Any) -> list[str]:
        """Each as "path: what is wrong (given: value)", in the order of the paths."""
        if isinstance(self.schema, Mapping):
            errors = sorted(_validator(self.schema).iter_errors(value), key=lambda e: e.json_path)
            return [
                f"{error.json_path}: {quoted(error.message)} (given: {quoted(error.instance)})"
                for error in errors
            ]
        try:
            # As JSON, because strictly a list may then be a tuple, and a text a date.
            self.schema.model_validate_json(json.dumps(value), strict=self.is_strict)
        except pydantic.ValidationError as error:
            return [
                f"{_path(each['loc'])}: {each['msg']} (given: {quoted(each['input'])})"
                for each in error.errors(include_url=False)
            ]
        return []


def _path(places: tuple[int | str, ...]) -> str:
    steps = (f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)
    return "$" + "".join(steps)


def _validator(schema: Mapping[str, Any]) -> Any:
    """What checks values against the schema.

    Raises:
        SettingsError: it is no schema.
    """
    # A dependency of DSPy's and litellm's, imported here as it takes long and few need it.
    import jsonschema  # type: ignore[import-untyped]  # noqa: PLC0415

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SettingsError(
            f"The schema is no JSON schema: at {error.json_path}, {error.message:.300}. "
            "Correct it, or pass a pydantic model."
        ) from None
    return kind(schema)


def _read_from(field: str, pred: object) -> _Read:
    """The JSON value in a field of a prediction, which may lack it."""
    answer = answer_in(field, pred)
    if answer is MISSING:
        return _Read(None, scored_nothing(field, pred).feedback)
    return _read(answer)


def _read(answer: Any) -> _Read:
    """The JSON value that was given, as a text or as an object."""
    if not isinstance(answer, str):
        try:
            value = pydantic_core.to_jsonable_python(answer, by_alias=True)
            return _Read(json.loads(json.dumps(value, allow_nan=False)), "")
        except (TypeError, ValueError) as error:
            return _Read(None, f"{quoted(answer)} is no JSON: {error}.")
    problem = ""
    try:
        return _Read(json.loads(answer, parse_constant=_refuse), "")
    except json.JSONDecodeError as error:
        shown = answer[max(0, error.pos - _AROUND) : error.pos + _AROUND]
        place = f"line {error.lineno}, column {error.colno}"
        problem = f"The text is no JSON. {error.msg} at {place}, near {shown!r}."
    except ValueError as error:
        problem = f"The text is no JSON: {error}."
    except RecursionError:
        problem = "The text is no JSON that can be read: it is nested too deeply."
    if not answer.strip():
        problem = "The text is no JSON: it is empty."
    elif (fenced := _FENCED.fullmatch(answer)) and not _read(fenced[1]).problem:
        problem = "The text holds JSON within a code fence. Write the JSON alone, without ```."
    return _Read(None, problem)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")

"""Whether a program can be given what the examples have, as far as that shows before it is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import dspy

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.rollouts.entry import entry_of

__all__ = ["check_inputs"]

_ANY = inspect.Parameter.VAR_KEYWORD


def check_inputs(program: dspy.Module, table: ExampleTable) -> None:
    """Nothing, if at least one example of each set that the search sees fits the program.

    Raises:
        SettingsError: no example of some set fits, because of the names of its inputs.
    """
    for examples in (table.train, table.validation, table.anchors):
        _check(program, table, examples)


def _check(program: dspy.Module, table: ExampleTable, examples: Iterable[int]) -> None:
    first, taken = None, ""
    for example in examples:
        inputs = sorted(table.examples[example].inputs().keys())
        taken = _unfit(program, inputs)
        if not taken:
            return
        first = first or (example, inputs)
    if first is not None:
        place, inputs = table.name_of(first[0]), first[1]
        raise SettingsError(
            f"No example there can be given to the program {type(program).__name__}: {place} has "
            f"the inputs {inputs}, and {taken}. Rename the fields of the examples, or mark the "
            "right ones with with_inputs(...)."
        )


def _unfit(program: dspy.Module, inputs: list[str]) -> str:
    """What the program takes instead of these inputs; empty if it may take them."""
    name = entry_of(program).name
    # DSPy warns where `forward` is looked up in the ordinary way outside a call.
    method: Any = object.__getattribute__(program, name)
    signature = inspect.signature(method)
    if any(parameter.kind is _ANY for parameter in signature.parameters.values()):
        fields = _fields_of(program)
        is_fit = not fields or not inputs or not set(fields).isdisjoint(inputs)
        return "" if is_fit else f"its signature has the input fields {sorted(fields)}"
    try:
        signature.bind(**dict.fromkeys(inputs))
    except TypeError as error:
        return f"it is called as {name}{signature}: {error}"
    return ""


def _fields_of(program: dspy.Module) -> Iterable[str]:
    """The input fields of one of DSPy's own modules; none of others, which may do as they like."""
    if not type(program).__module__.startswith("dspy."):
        return ()
    holders = [program, *(predictor for _, predictor in program.named_predictors())]
    signature = next((each.signature for each in holders if hasattr(each, "signature")), None)
    return () if signature is None else signature.input_fields

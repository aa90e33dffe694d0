"""The metric: whether the bug is mended, and if not, what the agent did wrong.

It reads the prediction alone, so that a rollout may run anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy

from dspy_gepa import Feedback

__all__ = ["is_solved", "metric"]

_MOST_TESTS = 3


def metric(gold: dspy.Example, pred: dspy.Prediction) -> Feedback:
    """1 if the failing tests pass and no other fails, else 0, with everything that went wrong."""
    solved = is_solved(pred)
    remarks = [*_place(gold, pred), *_refusals(pred), *_tests(gold, pred)]
    if solved:
        remarks = [f"Solved in {pred.steps} steps.", *_refusals(pred), *_never_ran(pred)]
    text = "\n".join(f"- {each}" for each in remarks)
    return Feedback(float(solved), text, objectives={"steps": float(pred.steps)})


def is_solved(pred: dspy.Prediction) -> bool:
    """Whether all tests pass in the fresh copy."""
    return not pred.failing and not pred.problem


def _place(gold: dspy.Example, pred: dspy.Prediction) -> Iterator[str]:
    """What was edited, beside what had to be."""
    file, edited = gold.bug["file"], list(pred.files_edited)
    if file not in edited:
        how = "read it but did not edit it" if file in pred.files_read else "never opened it"
        instead = f" Edited instead: {', '.join(edited)}." if edited else " Nothing was edited."
        yield f"Missed a file: the fault is in {_fault(gold)}. The agent {how}.{instead}"
        return
    lines = [each for each in pred.changed_lines if each["file"] == file]
    first, last = gold.bug["line"], gold.fault["end_line"]
    if not any(first <= each["line"] <= last for each in lines):
        changed = ", ".join(_line(each) for each in lines[:_MOST_TESTS])
        yield f"Applied the edit at the wrong place: {changed}; the fault is in {_fault(gold)}."


def _line(changed: dict[str, Any]) -> str:
    function = changed["function"]
    return f"line {changed['line']}" + (f" in `{function}`" if function else "")


def _fault(gold: dspy.Example) -> str:
    bug, fault = gold.bug, gold.fault
    return (
        f"{bug['file']}, line {bug['line']}, in `{bug['function']}`, where `{fault['wrong']}` "
        f"stands and `{fault['right']}` is right ({bug['kind']})"
    )


def _refusals(pred: dspy.Prediction) -> Iterator[str]:
    for reason in dict.fromkeys(pred.refused):
        yield f"An edit was refused: {reason}"


def _tests(gold: dspy.Example, pred: dspy.Prediction) -> Iterator[str]:
    known = set(gold.bug["failing"])
    broken = [name for name in pred.failing if name not in known]
    still = [name for name in pred.failing if name in known]
    if pred.problem:
        yield f"The tests could not be run with the edits: {pred.problem}"
    if broken:
        yield f"Broke {len(broken)} tests that passed before: {_named(pred, broken)}"
    if still:
        yield f"{len(still)} tests still fail: {_named(pred, still)}"
    yield from _never_ran(pred)


def _never_ran(pred: dspy.Prediction) -> Iterator[str]:
    if not pred.test_runs:
        yield "The agent never ran the tests."


def _named(pred: dspy.Prediction, names: list[str]) -> str:
    """The tests, with the last lines of what was said of the first of them."""
    shown = ", ".join(names[:_MOST_TESTS]) + ", ..." * (len(names) > _MOST_TESTS)
    said = pred.failing[names[0]]
    return f"{shown}. {names[0]} ends with:\n{said}" if said else f"{shown}."

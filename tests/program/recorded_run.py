"""Runs of programs on a scripted model, and what their recordings say."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import dspy
from scripted_engine import answer

from dspy_gepa.core.rollout import Step, Trace
from dspy_gepa.models.catching import Failed
from dspy_gepa.models.event_loop import EventLoop
from dspy_gepa.program.rollouts.entry import entry_of
from dspy_gepa.program.rollouts.trace import Predictors, ProgramRun

__all__ = ["called", "echo", "recorded", "step"]


def recorded(program: dspy.Module, lm: Any, **inputs: Any) -> tuple[Trace, Any]:
    """The trace of a run, and what the run answered or raised."""
    recording = ProgramRun(program, Predictors(program))
    with dspy.context(lm=lm), closing(EventLoop()) as loop:
        output = recording.outcome(entry_of(program), inputs, loop, None)
    if isinstance(output, Failed):
        return recording.trace(error=output.error), output.error
    return recording.trace(output=output), output


def called(trace: Trace) -> list[str]:
    """The component of every step, in order."""
    return [step.component for step in trace.steps]


def echo(prompt: str) -> str:
    """Answers whatever field is asked for with the last question in the prompt."""
    asked = prompt.rpartition("[[ ## question ## ]]\n")[2].splitlines()[0]
    return answer(answer=f"{asked}!", reasoning="so", query=f"{asked}?")


def step(component: str, question: str, given: str) -> Step:
    """A call from question to answer."""
    return Step(component, {"question": question}, {"answer": given})

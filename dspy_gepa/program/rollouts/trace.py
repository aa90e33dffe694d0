"""One run of a program, with every call of its predictors and of its modules of code.

A call belongs to the object that made it; `forward` is never replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.core.rollout import Step, Trace
from dspy_gepa.judging.fields import fields_of
from dspy_gepa.models.catching import Failed
from dspy_gepa.models.event_loop import EventLoop
from dspy_gepa.models.failures import failure_text, most_read_reply, unreadable_reply
from dspy_gepa.models.media import captured
from dspy_gepa.models.timeouts import call_with_timeout
from dspy_gepa.models.watch import NotedCall, Watch
from dspy_gepa.program.components.flex import CODE_MODULES
from dspy_gepa.program.components.kinds import parts_of
from dspy_gepa.program.rollouts.entry import Entry

__all__ = ["PredictorCall", "Predictors", "ProgramRun"]

PredictorCall: TypeAlias = "tuple[dspy.Predict, dict[str, Any], dspy.Prediction]"
"""Predictor, its inputs and its output: an item of DSPy's own trace."""


class Predictors:
    """Says which component of a program a predictor, or a module of code, is."""

    def __init__(self, program: dspy.Module) -> None:
        components = {id(part.holder): name for name, part in parts_of(program).items()}
        # Frozen sub-modules are searched as well: their predictors are no component, and must
        # not be taken for a copy of one.
        self._known: list[tuple[Any, str | None]] = [
            (holder, components.get(id(holder)))
            for _, holder in program.named_sub_modules((dspy.Predict, *CODE_MODULES))
        ]

    def component_of(self, holder: Any, *, may_be_copy: bool = True) -> str | None:
        """The component's name; None for an object that is not one of the program's.

        BestOfN and Refine call deep copies. A copy has the `stage` of its original, DSPy's random
        mark of a predictor; where even that is new, an equal signature decides.
        """
        for known, component in self._known:
            if known is holder:
                return component
        if not may_be_copy:
            return None
        mark = getattr(holder, "stage", None)
        copied = [
            (known, component)
            for known, component in self._known
            if mark is not None and getattr(known, "stage", None) == mark
        ]
        if not copied:
            is_code = isinstance(holder, CODE_MODULES)
            return self.component_with(holder.signature, is_code=is_code)
        alike = [name for known, name in copied if known.signature.equals(holder.signature)]
        return alike[0] if alike else copied[0][1]

    def component_with(
        self, signature: type[dspy.Signature], *, is_code: bool = False
    ) -> str | None:
        """The first component of this sort that has this signature; None if none has."""
        for known, component in self._known:
            is_of_this_sort = isinstance(known, CODE_MODULES) == is_code
            if component is not None and is_of_this_sort and known.signature.equals(signature):
                return component
        return None


class _Calls(list[Any]):
    """A trace whose calls keep what they were given, whatever the program does to it later on.

    An agent adds what its tools answered to the very list that its last call was given.
    """

    def append(self, call: Any) -> None:
        predictor, inputs, output = call
        kept = {name: _as_it_is(value) for name, value in inputs.items()}
        super().append((predictor, kept, output))


def _as_it_is(value: Any) -> Any:
    """The value, or a copy of a container that its owner can add to."""
    if isinstance(value, dspy.History):
        return value.model_copy(update={"messages": list(value.messages)})
    return copy.copy(value) if type(value) in (list, dict, set) else value


class ProgramRun:
    """One run of a program on one example. Use it once."""

    def __init__(self, program: dspy.Module, predictors: Predictors) -> None:
        self.calls: list[PredictorCall] = _Calls()
        """Calls that gave an output, in the order in which they finished: DSPy's own trace."""
        self.watch = Watch(CODE_MODULES)
        self._program = program
        self._predictors = predictors
        self._inputs: Mapping[str, Any] = {}

    def outcome(
        self,
        entry: Entry,
        inputs: Mapping[str, Any],
        loop: EventLoop,
        timeout_seconds: float | None,
    ) -> Any | Failed:
        """What the program answers or raises; `TimedOut` as raised if it takes too long.

        The calls that had ended by then are kept in any case.

        Args:
            entry: How it is called.
            inputs: What it is given.
            loop: Where it is awaited, if it has to be.
            timeout_seconds: How long it may take; None for as long as it takes.
        """
        self._inputs = inputs

        def call() -> Any:
            with self.watch.around(self.calls):
                return entry.called(self._program, inputs)

        async def acall() -> Any:
            with self.watch.around(self.calls):
                return await entry.acalled(self._program, inputs)

        if entry.is_asynchronous:
            return loop.within(timeout_seconds, acall)
        return call_with_timeout(timeout_seconds, call)

    def calls_of(self, component: str) -> list[PredictorCall]:
        """The calls of this component that gave an output, in order."""
        return [call for call in self.calls if self._component_of(call[0]) == component]

    def trace(self, *, output: object = None, error: BaseException | None = None) -> Trace:
        """The run as a plain value, failed calls included, given how it ended."""
        steps = [
            (position, self._succeeded(call)) for position, call in enumerate(self.calls, start=1)
        ]
        noted = [(call.position, self._noted(call)) for call in self.watch.noted_calls]
        if isinstance(error, AdapterParseError) and not any(
            c.error for c in self.watch.noted_calls
        ):
            # A predictor whose `forward` was called directly is seen by no callback.
            noted.append((len(self.calls), self._unseen(error)))
        # The sort is stable: a noted call comes after the calls that had succeeded by then.
        in_order = sorted(steps + noted, key=lambda placed: placed[0])
        return Trace(
            inputs=captured(dict(self._inputs)),
            outputs=captured(fields_of(output)),
            steps=tuple(step for _, step in in_order if step is not None),
        )

    def _succeeded(self, call: PredictorCall) -> Step | None:
        predictor, inputs, output = call
        component = self._component_of(predictor)
        if component is None:
            return None
        return Step(component, captured(dict(inputs)), captured(fields_of(output)))

    def _noted(self, call: NotedCall) -> Step | None:
        component = self._component_of(call.holder)
        if component is None:
            return None
        if call.error is None:
            return Step(component, captured(dict(call.inputs)), captured(fields_of(call.output)))
        return _failed_step(component, call.inputs, call.error)

    def _component_of(self, holder: Any) -> str | None:
        # What code makes for itself is no copy of a component, whatever it looks like.
        is_own = not self.watch.is_within_code(holder)
        return self._predictors.component_of(holder, may_be_copy=is_own)

    def _unseen(self, error: AdapterParseError) -> Step | None:
        component = self._predictors.component_with(error.signature)
        return None if component is None else _failed_step(component, {}, error)


def _failed_step(component: str, inputs: Mapping[str, Any], error: BaseException) -> Step:
    shown = captured(dict(inputs))
    if isinstance(error, AdapterParseError):
        reply = str(most_read_reply(error).lm_response)
        return Step(component, shown, {}, failure=unreadable_reply(error), reply=reply)
    return Step(component, shown, {}, failure=failure_text(error))

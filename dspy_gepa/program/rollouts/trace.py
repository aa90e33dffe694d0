"""One run of a program, with every call of its predictors and of its modules of code.

A call belongs to the object that made it; `forward` is never replaced.
"""

from __future__ import annotations

import asyncio
import copy
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.core.media import without_base64
from dspy_gepa.core.rollout import Step, Trace
from dspy_gepa.program.calls.boundary import Raised
from dspy_gepa.program.calls.loop import EventLoop
from dspy_gepa.program.calls.media import captured
from dspy_gepa.program.calls.patience import within
from dspy_gepa.program.components.flex import CODE_MODULES
from dspy_gepa.program.components.kinds import parts_of
from dspy_gepa.program.rollouts.entry import Entry
from dspy_gepa.program.rollouts.watch import NotedCall, Watch

__all__ = [
    "Call",
    "Predictors",
    "Recording",
    "failure_cause",
    "failure_text",
    "fields_of",
    "traceback_text",
]

Call: TypeAlias = "tuple[dspy.Predict, dict[str, Any], dspy.Prediction]"
"""Predictor, its inputs and its output: an item of DSPy's own trace."""

_LONGEST_MESSAGE = 1_000
"""Characters of an exception's message that a failure text keeps."""
_LONGEST_REPLY = 500
"""Characters of an unreadable reply in a failure text; its step keeps the whole."""
_FRAMES = 5
"""Calls of the user's own code that a traceback names: the innermost ones."""
_INSTALLED = tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OURS = (
    Path(__file__).resolve().parents[1],
    Path(__file__).resolve().parents[2] / "artifact",
    Path(dspy.__file__).resolve().parent,
)


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
        """The first component of this sort that has this signature; None where none has."""
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


class Recording:
    """One run of a program on one example. Use it once."""

    def __init__(self, program: dspy.Module, predictors: Predictors) -> None:
        self.calls: list[Call] = _Calls()
        """Calls that gave an output, in the order in which they finished: DSPy's own trace."""
        self.watch = Watch()
        self._program = program
        self._predictors = predictors
        self._inputs: Mapping[str, Any] = {}

    def outcome(
        self,
        entry: Entry,
        inputs: Mapping[str, Any],
        loop: EventLoop,
        timeout_seconds: float | None,
    ) -> Any | Raised:
        """What the program answers or raises, in time or not; partial calls are kept.

        Args:
            entry: How it is called.
            inputs: What it is given.
            loop: Where it is awaited, if it has to be.
            timeout_seconds: How long it may take; None for as long as it takes.
        """
        self._inputs = inputs

        def call() -> Any:
            with self.watch.around(self.calls), _no_more_than_failing():
                return entry.called(self._program, inputs)

        async def acall() -> Any:
            with self.watch.around(self.calls), _no_more_than_failing():
                return await entry.acalled(self._program, inputs)

        if entry.is_asynchronous:
            return loop.within(timeout_seconds, acall)
        return within(timeout_seconds, call)

    def calls_of(self, component: str) -> list[Call]:
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

    def _succeeded(self, call: Call) -> Step | None:
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


def fields_of(output: object) -> dict[str, Any]:
    """Field name to value, of whatever a program answers; empty for None."""
    if output is None:
        return {}
    if isinstance(output, (dspy.Example, Mapping)):
        return {str(name): value for name, value in output.items()}
    return {"output": output}


def failure_text(error: BaseException) -> str:
    """What went wrong, for a reader who cannot see the program: kind, message and place."""
    if isinstance(error, AdapterParseError):
        reply = _shortened(_most_read(error).lm_response, _LONGEST_REPLY)
        return f"{_unreadable(error)} The model's raw reply: {reply}"
    frames = _own_frames(error)
    return _kind_and_message(error) + (f" (in {_told(frames[-1])})" if frames else "")


def failure_cause(error: BaseException) -> str:
    """What went wrong and where, without what differs from one example to the next."""
    kind, frames = type(error), _own_frames(error)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{kind.__module__}.{kind.__qualname__}{place}"


def traceback_text(error: BaseException) -> str:
    """Kind, message and the calls that led to it, outermost first; then what it was raised from."""
    lines = [_kind_and_message(error)]
    lines += [f"  in {_told(frame)}" for frame in _own_frames(error)[-_FRAMES:]]
    if error.__cause__ is not None and error.__cause__ is not error:
        lines.append(f"raised from {failure_text(error.__cause__)}")
    return "\n".join(lines)


@contextmanager
def _no_more_than_failing() -> Iterator[None]:
    """Have a program that exits, or is cancelled, fail: neither may end our thread."""
    try:
        yield
    except (SystemExit, asyncio.CancelledError) as error:
        raise RuntimeError(f"the program ended by {type(error).__name__}") from error


def _failed_step(component: str, inputs: Mapping[str, Any], error: BaseException) -> Step:
    shown = captured(dict(inputs))
    if isinstance(error, AdapterParseError):
        reply = str(_most_read(error).lm_response)
        return Step(component, shown, {}, failure=_unreadable(error), reply=reply)
    return Step(component, shown, {}, failure=failure_text(error))


def _unreadable(error: AdapterParseError) -> str:
    found = ", ".join(_most_read(error).parsed_result or ()) or "none"
    expected = ", ".join(error.signature.output_fields)
    return f"The reply could not be read. Output fields expected: {expected}; found: {found}."


def _most_read(error: AdapterParseError) -> AdapterParseError:
    """Of the attempts to read a reply, the one that found most.

    DSPy asks again in another format where the first reply cannot be read, and reports the last.
    """
    attempts, cause = [error], error.__context__
    while isinstance(cause, AdapterParseError):
        attempts.append(cause)
        cause = cause.__context__
    return max(attempts, key=lambda attempt: len(attempt.parsed_result or ()))


def _kind_and_message(error: BaseException) -> str:
    message = _shortened(str(error), _LONGEST_MESSAGE)
    return ": ".join(filter(None, [type(error).__name__, message]))


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The calls of the user's own code, or else those of whatever is neither ours nor DSPy's."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not _lies_in(frame.filename, _OURS)
    ]
    return [frame for frame in frames if not _lies_in(frame.filename, _INSTALLED)] or frames


def _told(frame: traceback.FrameSummary) -> str:
    source = f": {frame.line}" if frame.line else ""
    return f"{frame.name}, line {frame.lineno} of {Path(frame.filename).name}{source}"


def _lies_in(filename: str, folders: tuple[Path, ...]) -> bool:
    path = Path(filename).resolve()
    return filename.startswith("<frozen") or any(path.is_relative_to(each) for each in folders)


def _shortened(text: str, limit: int) -> str:
    text = without_base64(str(text)).strip()
    return text if len(text) <= limit else f"{text[:limit]} [...]"

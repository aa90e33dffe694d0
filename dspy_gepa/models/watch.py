"""What DSPy's trace does not show of a run, seen through DSPy's own callbacks.

That is what went wrong while a program, a metric or a reflection ran, and the calls of modules of
code. Errors are noted where they happen, because the code around them may swallow them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.core.work import Exchange
from dspy_gepa.models.outages import is_unmistakable, outage_in
from dspy_gepa.values.foreign import str_of
from dspy_gepa.values.media import without_base64

__all__ = ["NotedCall", "Watch"]


@dataclass(frozen=True)
class NotedCall:
    """A call of a predictor that raised, or any call of code, unless it raised an outage."""

    holder: Any
    """The predictor, or the module of code."""
    inputs: Mapping[str, Any]
    """Field name to value, without DSPy's own call options."""
    position: int
    """How many calls of predictors had succeeded by then."""
    output: Any = None
    error: BaseException | None = None


class Watch(BaseCallback):  # type: ignore[misc]  # DSPy is untyped here
    """Notes failed calls, calls of code and outages, in whatever thread of DSPy's they happen.

    Args:
        code_modules: The classes whose calls are calls of code.
        keeps_exchanges: Whether prompts and replies are kept in `exchanges`.
    """

    def __init__(
        self, code_modules: tuple[type, ...] = (), *, keeps_exchanges: bool = False
    ) -> None:
        self._code_modules = code_modules
        self.exchanges: list[Exchange] = []
        """What models were asked and what they replied, where that is kept."""
        self._keeps_exchanges = keeps_exchanges
        self._asked: dict[str, tuple[str, float]] = {}
        self.noted_calls: list[NotedCall] = []
        self._running: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._within_code: dict[int, Any] = {}
        self._trace: Sized = ()
        self._outage: BaseException | None = None
        self._has_recovered = True
        self.lm_calls = 0

    @contextmanager
    def around(self, trace: list[Any]) -> Iterator[None]:
        """Watch what runs inside, with its trace in this list and nothing in the caller's."""
        self._trace = trace
        with dspy.context(trace=trace, callbacks=[*dspy.settings.callbacks, self]):
            yield

    def outage(
        self, error: BaseException | None, *, is_without_result: bool
    ) -> BaseException | None:
        """The outage that the run must be blamed on; None if there is none.

        That is one which `error` was raised from, or else one that was swallowed, if it cannot
        have been worked around: the run failed or gave nothing, or no model answered after it.
        """
        if outage := outage_in(error):
            return outage
        if isinstance(error, AdapterParseError):
            return None  # a model answered, only not readably
        failed = error is not None or is_without_result
        return self._outage if failed or not self._has_recovered else None

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember what a predictor or a module of code is called with."""
        if isinstance(instance, (dspy.Predict, *self._code_modules)):
            self._running[call_id] = (instance, inputs["kwargs"])
            callers = dspy.settings.caller_modules or ()
            if any(isinstance(caller, self._code_modules) for caller in callers):
                self._within_code[id(instance)] = instance

    def on_module_end(
        self,
        call_id: str,
        outputs: Any | None,
        exception: BaseException | None = None,
    ) -> None:
        """Note how a call of a predictor or of code ended."""
        if call_id not in self._running:
            return
        holder, given = self._running.pop(call_id)
        is_code = isinstance(holder, self._code_modules)
        if not is_code:
            # Code may end well although no model answered it.
            self._note(exception)
        if is_code if exception is None else not outage_in(exception):
            fields = holder.signature.input_fields
            inputs = {name: value for name, value in given.items() if name in fields}
            called = NotedCall(holder, inputs, len(self._trace), outputs, exception)
            self.noted_calls.append(called)

    def on_lm_start(
        self,
        call_id: str,
        instance: Any,  # noqa: ARG002 - passed by name
        inputs: dict[str, Any],
    ) -> None:
        """Count a call of a model."""
        self.lm_calls += 1
        if self._keeps_exchanges:
            self._asked[call_id] = (_asked(inputs), time.monotonic())

    def on_lm_end(
        self,
        call_id: str,
        outputs: Any | None,
        exception: BaseException | None = None,
    ) -> None:
        """Note how a call of a model ended."""
        self._note(exception)
        if call_id in self._asked:
            prompt, began_seconds = self._asked.pop(call_id)
            took = round(time.monotonic() - began_seconds, 3)
            reply = _replied(outputs) if exception is None else ""
            refused = "" if exception is None else type(exception).__name__
            self.exchanges.append(
                Exchange(prompt=prompt, reply=reply, refused=refused, seconds=took)
            )

    def on_interpreter_startup_end(
        self,
        call_id: str,  # noqa: ARG002 - passed by name
        outputs: Any | None,  # noqa: ARG002 - passed by name
        exception: BaseException | None = None,
    ) -> None:
        """Note that code cannot be run at all: where its sandbox is missing, say."""
        if exception is not None:
            self._outage, self._has_recovered = exception, False

    def is_within_code(self, predictor: object) -> bool:
        """Whether it was called by code, which makes predictors of its own."""
        return id(predictor) in self._within_code

    def _note(self, error: BaseException | None) -> None:
        if error is None:
            self._has_recovered = True
        elif is_unmistakable(error):
            self._outage, self._has_recovered = error, False


def _asked(inputs: Mapping[str, Any]) -> str:
    """The words that a model is asked with, those of media left out."""
    messages = inputs.get("messages")
    if not messages:
        return without_base64(str_of(inputs.get("prompt") or inputs.get("request") or ""))
    contents = [_part(each, "content") for each in messages]
    return without_base64("\n\n".join(map(_spoken, contents)))


def _spoken(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        return "\n".join(
            str_of(_part(part, "text") or f"[{_part(part, 'type')}]") for part in content
        )
    return str_of(content)


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _replied(outputs: object) -> str:
    first = outputs[0] if isinstance(outputs, list) and outputs else outputs
    return without_base64(str_of(_part(first, "text") if isinstance(first, Mapping) else first))

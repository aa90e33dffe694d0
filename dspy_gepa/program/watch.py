"""What went wrong while a program or a metric ran, seen through DSPy's own callbacks.

Code may swallow an error that matters here, so nothing relies on what finally comes out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.program.outage import is_unmistakable, outage_in

__all__ = ["FailedCall", "Watch"]


@dataclass(frozen=True)
class FailedCall:
    """A predictor's call that raised, for a reason that is not an outage."""

    predictor: dspy.Predict
    inputs: Mapping[str, Any]
    """Field name to value, without DSPy's own call options."""
    error: BaseException
    position: int
    """How many calls had succeeded by then."""


class Watch(BaseCallback):  # type: ignore[misc]  # DSPy is untyped here
    """Notes failed calls of predictors and outages, in whatever thread of DSPy's they happen."""

    def __init__(self) -> None:
        self.failed_calls: list[FailedCall] = []
        self._running: dict[str, tuple[dspy.Predict, dict[str, Any]]] = {}
        self._trace: Sized = ()
        self._outage: BaseException | None = None
        self._has_recovered = True

    @contextmanager
    def around(self, trace: list[Any]) -> Iterator[None]:
        """Watch what runs inside, with its trace in this list and nothing in the caller's."""
        self._trace = trace
        with dspy.context(trace=trace, callbacks=[*dspy.settings.callbacks, self]):
            yield

    def outage(
        self, error: BaseException | None, *, is_without_result: bool
    ) -> BaseException | None:
        """The outage that the run must be blamed on; None where there is none.

        That is one which `error` was raised from, or else one that was swallowed, if it cannot
        have been worked around: the run failed or gave nothing, or no model answered after it.
        """
        if found := outage_in(error):
            return found
        if isinstance(error, AdapterParseError):
            return None  # a model answered, only not readably
        failed = error is not None or is_without_result
        return self._outage if failed or not self._has_recovered else None

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember what a predictor is called with."""
        if isinstance(instance, dspy.Predict):
            self._running[call_id] = (instance, inputs["kwargs"])

    def on_module_end(
        self,
        call_id: str,
        outputs: Any | None,  # noqa: ARG002 - passed by name
        exception: BaseException | None = None,
    ) -> None:
        """Note how a predictor's call ended."""
        if call_id not in self._running:
            return
        predictor, given = self._running.pop(call_id)
        self._note(exception)
        if exception is not None and not outage_in(exception):
            fields = predictor.signature.input_fields
            inputs = {name: value for name, value in given.items() if name in fields}
            self.failed_calls.append(FailedCall(predictor, inputs, exception, len(self._trace)))

    def on_lm_end(
        self,
        call_id: str,  # noqa: ARG002 - passed by name
        outputs: Any | None,  # noqa: ARG002 - passed by name
        exception: BaseException | None = None,
    ) -> None:
        """Note how a call of a model ended."""
        self._note(exception)

    def _note(self, error: BaseException | None) -> None:
        if error is None:
            self._has_recovered = True
        elif is_unmistakable(error):
            self._outage, self._has_recovered = error, False

"""Evaluations in processes of their own, which can be ended with all that they began."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dspy_gepa.artifact.checks import Refused, refusal
from dspy_gepa.artifact.evaluation import LocalEvaluation, failed
from dspy_gepa.artifact.isolation.limits import ProcessLimits, Report, is_linux
from dspy_gepa.artifact.isolation.server import ForkServer, can_fork
from dspy_gepa.artifact.isolation.wire import (
    CheckRequest,
    answer_received,
    packed_answer,
    packed_check,
    packed_refusal,
    packed_request,
    refusal_of,
    request_of,
)
from dspy_gepa.artifact.output import Output, said_with
from dspy_gepa.core.work import Answer, RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import JournalCorrupt, SettingsError, WorkerError

__all__ = ["MOST_PROCESSES", "IsolatedEvaluation", "check_isolation"]


MOST_PROCESSES = 256
"""At once, where nothing else is said. Our choice: more than a pool for each core of a large
machine, and few enough that a program that only forks does no harm."""

_UNREADABLE = "its process gave no answer that can be read"


def check_isolation(memory_mb: int | None, max_processes: int | None) -> None:
    """Nothing, where this system can do what is asked for.

    Raises:
        SettingsError: it cannot.
    """
    if not can_fork():
        raise SettingsError(
            'isolation="process" needs a system that can fork processes, which this one cannot. '
            "Leave it out, or run under Linux, macOS or WSL."
        )
    if memory_mb is not None and not is_linux():
        raise SettingsError(f"memory_mb={memory_mb} was given; only Linux keeps such a limit.")
    if max_processes not in (None, MOST_PROCESSES) and not is_linux():
        raise SettingsError(f"max_processes={max_processes} was given; only Linux can count them.")


class IsolatedEvaluation:
    """Carries out each evaluation in a process of its own. Make it before the run has threads.

    Args:
        evaluation: What is done in the process.
        limits: What the process may take.
        checks: What is asked about new texts, each in a process of its own as well.
    """

    def __init__(
        self,
        evaluation: LocalEvaluation,
        limits: ProcessLimits,
        checks: Sequence[Callable[[str], Any]] = (),
    ) -> None:
        self._settings = evaluation.settings
        # The supervisor looks at the time: it can end what takes too long.
        evaluation = replace(
            evaluation, settings=replace(evaluation.settings, timeout_seconds=None)
        )

        def carry_out(sent: bytes) -> bytes:
            asked = request_of(sent)
            if isinstance(asked, CheckRequest):
                return packed_refusal(refusal(checks[asked.number], asked.text))
            request, must_score = asked
            return packed_answer(evaluation(request, must_score=must_score))

        self._server = ForkServer(carry_out, limits)

    def __call__(self, request: RolloutRequest, *, must_score: bool) -> Answer:
        """The answer; a `RequestFailure` where no process can be begun."""
        key = request.key
        try:
            report = self._server.ask(packed_request(request, must_score=must_score))
        except (JournalCorrupt, OSError) as error:
            cause = f"An evaluation in a process of its own could not be carried out: {error}"
            return RequestFailure(key, cause, error=WorkerError(cause))
        output = _output(report)
        try:
            answer = None if report.end else answer_received(report.answer, request)
        except JournalCorrupt:
            answer = None
        if answer is None:
            end = report.end or _UNREADABLE
            return RolloutAnswer(key, failed(request, end, output, self._settings))
        if isinstance(answer, RolloutAnswer) and output:
            feedback = said_with(answer.rollout.feedback, output)
            return replace(answer, rollout=replace(answer.rollout, feedback=feedback))
        return answer

    def check(self, number: int, text: str) -> Refused:
        """What this check says of a text: see `refusal`.

        If the check's process is ended, whatever by, the text is refused.

        Raises:
            WorkerError: no process can be begun.
        """
        try:
            report = self._server.ask(packed_check(CheckRequest(number, text)))
        except (JournalCorrupt, OSError) as error:
            raise WorkerError(f"A check could not be carried out: {error}") from error
        try:
            refused = report.end or refusal_of(report.answer)
        except JournalCorrupt:
            refused = _UNREADABLE
        return said_with(refused, _output(report)) if isinstance(refused, str) else refused

    def close(self) -> None:
        """End all processes."""
        self._server.close()


def _output(report: Report) -> str:
    output = Output()
    output.logged.add(report.logged)
    output.printed.add(report.printed)
    output.errors.add(report.errors)
    return output.in_words

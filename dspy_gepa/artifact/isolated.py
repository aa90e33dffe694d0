"""Evaluations in processes of their own, which can be ended with all that they began."""

from __future__ import annotations

from dataclasses import replace

from dspy_gepa.artifact.evaluation import Evaluation, failed
from dspy_gepa.artifact.isolation.limits import ProcessLimits, Report, can_limit_memory
from dspy_gepa.artifact.isolation.server import ForkServer, can_fork
from dspy_gepa.artifact.isolation.wire import answer_of, packed_answer, packed_request, request_of
from dspy_gepa.artifact.output import Output, said_with
from dspy_gepa.core.work import Answer, RolloutAnswer, RolloutRequest, Setback
from dspy_gepa.errors import JournalCorrupt, SettingsError, WorkerError

__all__ = ["IsolatedEvaluation", "check_isolation"]


def check_isolation(memory_mb: int | None) -> None:
    """Nothing, where this system can do what is asked for.

    Raises:
        SettingsError: it cannot.
    """
    if not can_fork():
        raise SettingsError(
            'isolation="process" needs a system that can fork processes, which this one cannot. '
            "Leave it out, or run under Linux, macOS or WSL."
        )
    if memory_mb is not None and not can_limit_memory():
        raise SettingsError(f"memory_mb={memory_mb} was given; only Linux keeps such a limit.")


class IsolatedEvaluation:
    """Carries out each evaluation in a process of its own. Make it before the run has threads.

    Args:
        evaluation: What is done in the process.
        limits: What the process may take.
    """

    def __init__(self, evaluation: Evaluation, limits: ProcessLimits) -> None:
        self._settings = evaluation.settings
        # The supervisor looks at the time: it can end what takes too long.
        evaluation = replace(
            evaluation, settings=replace(evaluation.settings, timeout_seconds=None)
        )

        def carry_out(sent: bytes) -> bytes:
            request, must_score = request_of(sent)
            return packed_answer(evaluation(request, must_score=must_score))

        self._server = ForkServer(carry_out, limits)

    def __call__(self, request: RolloutRequest, *, must_score: bool) -> Answer:
        """The answer; a `Setback` where no process can be begun."""
        key = request.key
        try:
            report = self._server.ask(packed_request(request, must_score=must_score))
            output = _output(report)
            if report.end:
                return RolloutAnswer(key, failed(request, report.end, output, self._settings))
            answer = answer_of(report.answer, request)
        except (JournalCorrupt, OSError) as error:
            cause = f"An evaluation in a process of its own could not be carried out: {error}"
            return Setback(key, cause, error=WorkerError(cause))
        if isinstance(answer, RolloutAnswer) and output:
            feedback = said_with(answer.rollout.feedback, output)
            return replace(answer, rollout=replace(answer.rollout, feedback=feedback))
        return answer

    def close(self) -> None:
        """End all processes."""
        self._server.close()


def _output(report: Report) -> str:
    output = Output()
    output.logged.add(report.logged)
    output.printed.add(report.printed)
    output.errors.add(report.errors)
    return output.in_words

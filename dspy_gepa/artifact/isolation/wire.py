"""What goes to a process of an evaluation and comes back from it: JSON, never pickle.

So nothing of an artifact's own types is made, and none of its code is run, where it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

from dspy_gepa.artifact.checks import Refused
from dspy_gepa.artifact.isolation.limits import Report
from dspy_gepa.core.budget import Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import Answer, RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import JournalCorrupt, MetricError, WorkerError
from dspy_gepa.store.codec import RECORDS
from dspy_gepa.values.plain import dumps, loads, packed, unpacked

__all__ = [
    "CheckRequest",
    "answer_received",
    "packed_answer",
    "packed_check",
    "packed_refusal",
    "packed_report",
    "packed_request",
    "refusal_of",
    "report_of",
    "request_of",
]

_SETBACK = ("cause", "is_lasting", "metric_calls", "rollouts", "lm_calls", "retry_after_seconds")


def packed_request(request: RolloutRequest, *, must_score: bool) -> bytes:
    """A request for an evaluation."""
    texts = [list(pair) for pair in request.candidate.items_in_order]
    asked = (texts, request.example, request.traced, must_score)
    return dumps(packed(list(asked))).encode()


class CheckRequest(NamedTuple):
    """What asks whether a check refuses a text."""

    number: int
    text: str


def packed_check(request: CheckRequest) -> bytes:
    """A request for a check."""
    return dumps(packed(list(request))).encode()


def packed_refusal(refused: Refused) -> bytes:
    """What a check says of a text."""
    return dumps({"refused": packed(refused)}).encode()


def refusal_of(sent: str) -> Refused:
    """What a check said.

    Raises:
        JournalCorrupt: it is nothing that one says.
    """
    with _reading():
        refused: Refused = unpacked(loads(sent)["refused"])
        return refused


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever is wrong with what is read inside has one name: an artifact may have written it."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise JournalCorrupt(f"it is no answer that can be read: {error}") from None


def request_of(sent: bytes) -> tuple[RolloutRequest, bool] | CheckRequest:
    """A request for an evaluation, and whether what is no score is an error; or one for a check."""
    read = unpacked(loads(sent))
    if len(read) == len(CheckRequest._fields):
        return CheckRequest(*read)
    texts, example, traced, must_score = read
    candidate = Candidate(tuple((name, text) for name, text in texts))
    return RolloutRequest(candidate, example, traced=traced), must_score


def packed_answer(answer: Answer) -> bytes:
    """The answer to a request for an evaluation."""
    if isinstance(answer, RolloutAnswer):
        return dumps({"rollout": RECORDS[Rollout].pack(answer.rollout)}).encode()
    assert isinstance(answer, RequestFailure)
    fields: dict[str, Any] = {name: getattr(answer, name) for name in _SETBACK}
    fields["usage"] = [answer.usage.total_tokens, answer.usage.usd]
    fields["is_of_evaluator"] = isinstance(answer.error, MetricError)
    return dumps({"setback": packed(fields)}).encode()


def answer_received(sent: str, request: RolloutRequest) -> Answer:
    """The answer that a process sent.

    Raises:
        JournalCorrupt: it is none.
    """
    key = request.key
    with _reading():
        read = loads(sent)
        if "rollout" in read:
            return RolloutAnswer(key, RECORDS[Rollout].unpack(read["rollout"]))
        fields = unpacked(read["setback"])
        usage, is_of_evaluator = Usage(*fields.pop("usage")), fields.pop("is_of_evaluator")
        error = (MetricError if is_of_evaluator else WorkerError)(fields["cause"])
        return RequestFailure(key, **fields, usage=usage, error=error)


def packed_report(report: Report) -> bytes:
    """What became of a process."""
    return dumps(packed(asdict(report))).encode()


def report_of(sent: bytes) -> Report:
    """What became of a process.

    Raises:
        JournalCorrupt: it is no report.
    """
    return Report(**unpacked(loads(sent)))

"""Events as JSON values and back: `decode(encode(event)) == event`, to the last bit.

The format is the table below, so that no change of the core changes it; usual values are left out.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dspy_gepa.core.budget import Tally, Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import (
    Advanced,
    Committed,
    Ended,
    Event,
    Faltered,
    Issued,
    Reflected,
    Remarked,
    RolledOut,
)
from dspy_gepa.core.proposal import (
    Anchoring,
    Drafted,
    Evaluation,
    Gating,
    Merge,
    Mutation,
    Reflecting,
    Remarking,
    Repairing,
    Revalidation,
    Rolling,
    Seed,
    Settled,
    Validating,
    Verdict,
)
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import Exchange, Fault, ReflectionAnswer, ReflectionKey, Repair, RequestKey
from dspy_gepa.store.record import (
    Codec,
    Record,
    Usual,
    exact_text,
    fixed,
    leaf,
    listed,
    many,
    tagged,
)
from dspy_gepa.values.plain import Json, packed, unpacked

__all__ = ["FORMAT", "OLDER", "RECORDS", "decode", "decode_key", "encode", "encode_key"]

FORMAT = 7
"""The version of what is written; older ones were never released. Format 5 has no times, and format
6 no tokens in and out but those of rollouts and reflections."""
OLDER = "an older one lacks what had begun when a process died, and what the metric said when asked"
"""Why what was written in an older format cannot be carried on."""


def encode(event: Event) -> dict[str, Json]:
    """The event as a JSON value: a dictionary whose first entry, "event", says which it is."""
    stored: dict[str, Json] = _EVENT.pack(event)
    return stored


def decode(stored: Json) -> Event:
    """The event that was encoded.

    Raises:
        JournalCorrupt: this is no event.
    """
    event: Event = _EVENT.unpack(stored)
    return event


def encode_key(key: RequestKey) -> Json:
    """What names a request, as a JSON value."""
    return _REQUEST_KEY.pack(key)


def decode_key(stored: Json) -> RequestKey:
    """What was encoded.

    Raises:
        JournalCorrupt: this names no request.
    """
    key: RequestKey = _REQUEST_KEY.unpack(stored)
    return key


def _fields_of(answer: Any) -> Any:
    # DSPy's predictions are no mappings, and have this instead.
    return dict(answer.items()) if hasattr(answer, "toDict") else answer


def _kind_of_key(stored: Json) -> type:
    """A rollout's key begins with a digest, a remark's ends with a name too; others are numbers."""
    parts = listed(stored)
    if parts and isinstance(parts[0], int):
        return ReflectionKey
    return RemarkKey if parts and not isinstance(parts[-1], int) else RolloutKey


_OUTPUT = Codec(lambda value: packed(_fields_of(value)), unpacked)
_TEXT, _FLAG = leaf(exact_text, str), leaf(bool, bool)
_USUALLY_NOT = Usual(_FLAG, value=False)
_WHOLE, _NUMBER = leaf(operator.index, int), leaf(float, float, int)
_FIELDS = leaf(dict, dict)
_WHOLES, _NAMES = many(_WHOLE), many(_TEXT)
_PAIR = fixed(lambda *pair: pair, _TEXT, _TEXT)
_PAIR_KEY, _TRIAL_KEY = (fixed(RolloutKey, _TEXT, *[_WHOLE] * n) for n in (1, 2))
_KEY = Codec(
    lambda key: _TRIAL_KEY.pack(key) if key.trial else _PAIR_KEY.pack(key[:2]),
    lambda stored: (_TRIAL_KEY if len(listed(stored)) == 3 else _PAIR_KEY).unpack(stored),
)
_REFLECTION_KEY = fixed(ReflectionKey, _WHOLE, _FLAG, _WHOLE)
_REMARK_KEY = fixed(RemarkKey, _TEXT, _WHOLE, _TEXT)
_KEYS = {RolloutKey: _KEY, RemarkKey: _REMARK_KEY, ReflectionKey: _REFLECTION_KEY}
_REQUEST_KEY = Codec(
    lambda key: _KEYS[type(key)].pack(key),
    lambda stored: _KEYS[_kind_of_key(stored)].unpack(stored),
)
_PAIRS = many(_PAIR)
# With its digest, by which rollouts name it: secrets may have been taken out of its texts.
_CANDIDATE = Codec(
    lambda candidate: [candidate.digest, _PAIRS.pack(candidate.items_in_order)],
    lambda stored: fixed(Candidate.known_by, _TEXT, _PAIRS).unpack(stored),
)

_USAGE = Record(
    Usage,
    total_tokens=Usual(_WHOLE, 0),
    usd=Usual(_NUMBER, 0.0),
    prompt_tokens=Usual(_WHOLE, 0),
    completion_tokens=Usual(_WHOLE, 0),
    unpriced_calls=Usual(_WHOLE, 0),
)
_TALLY = Record(
    Tally,
    rollouts=Usual(_WHOLE, 0),
    metric_calls=Usual(_WHOLE, 0),
    reflection_calls=Usual(_WHOLE, 0),
    proposals=Usual(_WHOLE, 0),
    total_tokens=Usual(_WHOLE, 0),
    usd=Usual(_NUMBER, 0.0),
    prompt_tokens=Usual(_WHOLE, 0),
    completion_tokens=Usual(_WHOLE, 0),
    unpriced_calls=Usual(_WHOLE, 0),
)
_LOST = Usual(_TALLY.codec, Tally())
_STEP = Record(
    Step,
    component=_TEXT,
    inputs=_FIELDS,
    outputs=_FIELDS,
    failure=Usual(_TEXT, ""),
    reply=Usual(_TEXT, ""),
)
_TRACE = Record(
    Trace,
    inputs=Usual(_FIELDS, {}),
    outputs=Usual(_FIELDS, {}),
    steps=Usual(many(_STEP.codec), ()),
)
_ROLLOUT = Record(
    Rollout,
    score=_NUMBER,
    feedback=Usual(_TEXT, ""),
    objectives=Usual(_FIELDS, {}),
    attachments=Usual(_FIELDS, {}),
    failure=Usual(_TEXT, ""),
    is_broken=_USUALLY_NOT,
    cause=Usual(_TEXT, ""),
    metric_calls=Usual(_WHOLE, 1),
    usage=Usual(_USAGE.codec, Usage()),
    trace=Usual(_TRACE.codec, Trace()),
    output=Usual(_OUTPUT, None),
    seconds=Usual(_NUMBER, 0.0),
)
_REMARK = Record(
    Remark,
    text=Usual(_TEXT, ""),
    score=Usual(_NUMBER, None),
    attachments=Usual(_FIELDS, {}),
    metric_calls=Usual(_WHOLE, 1),
    usage=Usual(_USAGE.codec, Usage()),
    seconds=Usual(_NUMBER, 0.0),
)
_FAULT = Record(Fault, components=_NAMES, reason=_TEXT)
_FAULTS = many(_FAULT.codec)
_REPAIR = Record(Repair, components=_NAMES, reply=_TEXT, faults=_FAULTS)
_EXCHANGE = Record(
    Exchange,
    components=Usual(_NAMES, ()),
    prompt=Usual(_TEXT, ""),
    reply=Usual(_TEXT, ""),
    refused=Usual(_TEXT, ""),
    is_cut_off=_USUALLY_NOT,
    seconds=Usual(_NUMBER, 0.0),
    prompt_tokens=Usual(_WHOLE, 0),
    completion_tokens=Usual(_WHOLE, 0),
)
_REFLECTION = Record(
    ReflectionAnswer,
    ticket=_WHOLE,
    texts=Usual(_FIELDS, {}),
    problem=Usual(_TEXT, ""),
    metric_calls=Usual(_WHOLE, 0),
    lm_calls=Usual(_WHOLE, 0),
    usage=Usual(_USAGE.codec, Usage()),
    diagnosis=Usual(_TEXT, ""),
    lesson=Usual(_TEXT, ""),
    is_unchanged=_USUALLY_NOT,
    faults=Usual(_FAULTS, ()),
    repairs=Usual(many(_REPAIR.codec), ()),
    is_repair=_USUALLY_NOT,
    mends=Usual(_WHOLE, 0),
    room=Usual(_WHOLE, 0),
    exchanges=Usual(many(_EXCHANGE.codec), ()),
    seconds=Usual(_NUMBER, 0.0),
    naming=Usual(_WHOLE, 0),
)
_VERDICT = Record(Verdict, kind=_TEXT, reason=_TEXT)
_EVALUATION = Record(Evaluation, candidate=_CANDIDATE, examples=_WHOLES)
_ORIGINS = {
    "seed": Record(Seed, hold=_TALLY.codec),
    "mutation": Record(
        Mutation,
        hold=_TALLY.codec,
        parent=_WHOLE,
        looks=_WHOLES,
        draw=_WHOLE,
        turn=_WHOLE,
        seen=_WHOLE,
        mends=Usual(_WHOLE, 0),
        size=Usual(_WHOLE, 0),
    ),
    "merge": Record(
        Merge,
        hold=_TALLY.codec,
        parents=fixed(lambda *pair: pair, _WHOLE, _WHOLE),
        ancestor=_WHOLE,
        seen=_WHOLE,
    ),
    "revalidation": Record(Revalidation, hold=_TALLY.codec, member=_WHOLE),
}
_PHASES = {
    "rolling": Record(Rolling, evaluation=_EVALUATION.codec, looks=_WHOLES),
    "remarking": Record(
        Remarking, evaluation=_EVALUATION.codec, components=_NAMES, remarks=many(_REMARK_KEY)
    ),
    "reflecting": Record(Reflecting, evaluation=_EVALUATION.codec, components=_NAMES),
    "repairing": Record(
        Repairing, evaluation=_EVALUATION.codec, components=_NAMES, reflection=_REFLECTION.codec
    ),
    "drafted": Record(
        Drafted, evaluation=_EVALUATION.codec, components=_NAMES, reflection=_REFLECTION.codec
    ),
    "gating": Record(Gating, evaluation=_EVALUATION.codec, minibatch=_WHOLES),
    "anchoring": Record(Anchoring, evaluation=_EVALUATION.codec, beside=many(_EVALUATION.codec)),
    "validating": Record(
        Validating, evaluation=_EVALUATION.codec, beside=Usual(many(_EVALUATION.codec), ())
    ),
    "settled": Record(Settled, candidate=_CANDIDATE, verdict=_VERDICT.codec),
}
_ORIGIN, _PHASE = tagged("origin", _ORIGINS), tagged("phase", _PHASES)
_EVENTS = {
    "issued": Record(Issued, ticket=_WHOLE, origin=_ORIGIN, phase=_PHASE),
    "rolled_out": Record(
        RolledOut, key=_KEY, rollout=_ROLLOUT.codec, is_asked_for=Usual(_FLAG, value=True)
    ),
    "remarked": Record(
        Remarked, key=_REMARK_KEY, remark=_REMARK.codec, is_asked_for=Usual(_FLAG, value=True)
    ),
    "reflected": Record(Reflected, reflection=_REFLECTION.codec),
    "faltered": Record(
        Faltered,
        key=_REQUEST_KEY,
        cause=_TEXT,
        lost=_LOST,
        is_of_process=_USUALLY_NOT,
        pause_seconds=Usual(_NUMBER, 0.0),
    ),
    "advanced": Record(Advanced, ticket=_WHOLE, phase=_PHASE),
    "committed": Record(Committed, ticket=_WHOLE, verdict=_VERDICT.codec),
    "ended": Record(Ended, reason=_TEXT, is_breakdown=_USUALLY_NOT, causes=Usual(_NAMES, ())),
}
_EVENT = tagged("event", _EVENTS)

RECORDS: Mapping[type, Record] = MappingProxyType(
    {
        record.kind: record
        for record in (
            *_EVENTS.values(),
            *_ORIGINS.values(),
            *_PHASES.values(),
            *(_EVALUATION, _VERDICT, _REFLECTION, _REPAIR, _FAULT, _EXCHANGE, _ROLLOUT, _REMARK),
            *(_TRACE, _STEP, _TALLY, _USAGE),
        )
    }
)
"""Every type that is stored field by field."""

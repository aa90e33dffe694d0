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
    Issued,
    Reflected,
    Remarked,
    RequestFailed,
    RolledOut,
)
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Merge,
    Mutation,
    Reflecting,
    Remarking,
    Repairing,
    Revalidation,
    Seed,
    Settled,
    TextsReady,
    Validating,
    Verdict,
)
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import Exchange, Fault, ReflectionAnswer, ReflectionKey, Repair, RequestKey
from dspy_gepa.store.record import (
    Codec,
    Defaulted,
    RecordCodec,
    as_list,
    exact_text,
    fixed,
    leaf,
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
    parts = as_list(stored)
    if parts and isinstance(parts[0], int):
        return ReflectionKey
    return RemarkKey if parts and not isinstance(parts[-1], int) else RolloutKey


_OUTPUT = Codec(lambda value: packed(_fields_of(value)), unpacked)
_TEXT, _FLAG = leaf(exact_text, str), leaf(bool, bool)
_USUALLY_NOT = Defaulted(_FLAG, value=False)
_WHOLE, _NUMBER = leaf(operator.index, int), leaf(float, float, int)
_FIELDS = leaf(dict, dict)
_WHOLES, _NAMES = many(_WHOLE), many(_TEXT)
_PAIR = fixed(lambda *pair: pair, _TEXT, _TEXT)
_PAIR_KEY, _TRIAL_KEY = (fixed(RolloutKey, _TEXT, *[_WHOLE] * n) for n in (1, 2))
_KEY = Codec(
    lambda key: _TRIAL_KEY.pack(key) if key.trial else _PAIR_KEY.pack(key[:2]),
    lambda stored: (_TRIAL_KEY if len(as_list(stored)) == 3 else _PAIR_KEY).unpack(stored),
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

_USAGE = RecordCodec(
    Usage,
    total_tokens=Defaulted(_WHOLE, 0),
    usd=Defaulted(_NUMBER, 0.0),
    prompt_tokens=Defaulted(_WHOLE, 0),
    completion_tokens=Defaulted(_WHOLE, 0),
    unpriced_calls=Defaulted(_WHOLE, 0),
)
_TALLY = RecordCodec(
    Tally,
    rollouts=Defaulted(_WHOLE, 0),
    metric_calls=Defaulted(_WHOLE, 0),
    reflection_calls=Defaulted(_WHOLE, 0),
    proposals=Defaulted(_WHOLE, 0),
    total_tokens=Defaulted(_WHOLE, 0),
    usd=Defaulted(_NUMBER, 0.0),
    prompt_tokens=Defaulted(_WHOLE, 0),
    completion_tokens=Defaulted(_WHOLE, 0),
    unpriced_calls=Defaulted(_WHOLE, 0),
)
_LOST = Defaulted(_TALLY.codec, Tally())
_STEP = RecordCodec(
    Step,
    component=_TEXT,
    inputs=_FIELDS,
    outputs=_FIELDS,
    failure=Defaulted(_TEXT, ""),
    reply=Defaulted(_TEXT, ""),
)
_TRACE = RecordCodec(
    Trace,
    inputs=Defaulted(_FIELDS, {}),
    outputs=Defaulted(_FIELDS, {}),
    steps=Defaulted(many(_STEP.codec), ()),
)
_ROLLOUT = RecordCodec(
    Rollout,
    score=_NUMBER,
    feedback=Defaulted(_TEXT, ""),
    objectives=Defaulted(_FIELDS, {}),
    attachments=Defaulted(_FIELDS, {}),
    failure=Defaulted(_TEXT, ""),
    is_broken=_USUALLY_NOT,
    cause=Defaulted(_TEXT, ""),
    metric_calls=Defaulted(_WHOLE, 1),
    usage=Defaulted(_USAGE.codec, Usage()),
    trace=Defaulted(_TRACE.codec, Trace()),
    output=Defaulted(_OUTPUT, None),
    seconds=Defaulted(_NUMBER, 0.0),
)
_REMARK = RecordCodec(
    Remark,
    text=Defaulted(_TEXT, ""),
    score=Defaulted(_NUMBER, None),
    attachments=Defaulted(_FIELDS, {}),
    metric_calls=Defaulted(_WHOLE, 1),
    usage=Defaulted(_USAGE.codec, Usage()),
    seconds=Defaulted(_NUMBER, 0.0),
)
_FAULT = RecordCodec(Fault, components=_NAMES, reason=_TEXT)
_FAULTS = many(_FAULT.codec)
_REPAIR = RecordCodec(Repair, components=_NAMES, reply=_TEXT, faults=_FAULTS)
_EXCHANGE = RecordCodec(
    Exchange,
    components=Defaulted(_NAMES, ()),
    prompt=Defaulted(_TEXT, ""),
    reply=Defaulted(_TEXT, ""),
    refused=Defaulted(_TEXT, ""),
    is_cut_off=_USUALLY_NOT,
    seconds=Defaulted(_NUMBER, 0.0),
    prompt_tokens=Defaulted(_WHOLE, 0),
    completion_tokens=Defaulted(_WHOLE, 0),
)
_REFLECTION = RecordCodec(
    ReflectionAnswer,
    ticket=_WHOLE,
    texts=Defaulted(_FIELDS, {}),
    problem=Defaulted(_TEXT, ""),
    metric_calls=Defaulted(_WHOLE, 0),
    lm_calls=Defaulted(_WHOLE, 0),
    usage=Defaulted(_USAGE.codec, Usage()),
    diagnosis=Defaulted(_TEXT, ""),
    lesson=Defaulted(_TEXT, ""),
    is_unchanged=_USUALLY_NOT,
    faults=Defaulted(_FAULTS, ()),
    repairs=Defaulted(many(_REPAIR.codec), ()),
    is_repair=_USUALLY_NOT,
    mends=Defaulted(_WHOLE, 0),
    room=Defaulted(_WHOLE, 0),
    exchanges=Defaulted(many(_EXCHANGE.codec), ()),
    seconds=Defaulted(_NUMBER, 0.0),
    naming=Defaulted(_WHOLE, 0),
)
_VERDICT = RecordCodec(Verdict, kind=_TEXT, reason=_TEXT)
_EVALUATION = RecordCodec(Evaluation, candidate=_CANDIDATE, examples=_WHOLES)
_ORIGINS = {
    "seed": RecordCodec(Seed, hold=_TALLY.codec),
    "mutation": RecordCodec(
        Mutation,
        {
            "looks": "drawn_examples",
            "draw": "mutation_index",
            "turn": "rewrites_before",
            "seen": "visible_proposals",
        },
        hold=_TALLY.codec,
        parent=_WHOLE,
        looks=_WHOLES,
        draw=_WHOLE,
        turn=_WHOLE,
        seen=_WHOLE,
        mends=Defaulted(_WHOLE, 0),
        size=Defaulted(_WHOLE, 0),
    ),
    "merge": RecordCodec(
        Merge,
        {"seen": "visible_proposals"},
        hold=_TALLY.codec,
        parents=fixed(lambda *pair: pair, _WHOLE, _WHOLE),
        ancestor=_WHOLE,
        seen=_WHOLE,
    ),
    "revalidation": RecordCodec(Revalidation, hold=_TALLY.codec, member=_WHOLE),
}
_PHASES = {
    "rolling": RecordCodec(
        EvaluatingParent, {"looks": "drawn_examples"}, evaluation=_EVALUATION.codec, looks=_WHOLES
    ),
    "remarking": RecordCodec(
        Remarking, evaluation=_EVALUATION.codec, components=_NAMES, remarks=many(_REMARK_KEY)
    ),
    "reflecting": RecordCodec(Reflecting, evaluation=_EVALUATION.codec, components=_NAMES),
    "repairing": RecordCodec(
        Repairing, evaluation=_EVALUATION.codec, components=_NAMES, reflection=_REFLECTION.codec
    ),
    "drafted": RecordCodec(
        TextsReady, evaluation=_EVALUATION.codec, components=_NAMES, reflection=_REFLECTION.codec
    ),
    "gating": RecordCodec(EvaluatingChild, evaluation=_EVALUATION.codec, minibatch=_WHOLES),
    "anchoring": RecordCodec(
        CheckingMustPass,
        {"beside": "reference"},
        evaluation=_EVALUATION.codec,
        beside=many(_EVALUATION.codec),
    ),
    "validating": RecordCodec(
        Validating,
        {"beside": "reference"},
        evaluation=_EVALUATION.codec,
        beside=Defaulted(many(_EVALUATION.codec), ()),
    ),
    "settled": RecordCodec(Settled, candidate=_CANDIDATE, verdict=_VERDICT.codec),
}
_ORIGIN, _PHASE = tagged("origin", _ORIGINS), tagged("phase", _PHASES)
_EVENTS = {
    "issued": RecordCodec(Issued, ticket=_WHOLE, origin=_ORIGIN, phase=_PHASE),
    "rolled_out": RecordCodec(
        RolledOut, key=_KEY, rollout=_ROLLOUT.codec, is_asked_for=Defaulted(_FLAG, value=True)
    ),
    "remarked": RecordCodec(
        Remarked, key=_REMARK_KEY, remark=_REMARK.codec, is_asked_for=Defaulted(_FLAG, value=True)
    ),
    "reflected": RecordCodec(Reflected, reflection=_REFLECTION.codec),
    "faltered": RecordCodec(
        RequestFailed,
        key=_REQUEST_KEY,
        cause=_TEXT,
        lost=_LOST,
        is_of_process=_USUALLY_NOT,
        pause_seconds=Defaulted(_NUMBER, 0.0),
    ),
    "advanced": RecordCodec(Advanced, ticket=_WHOLE, phase=_PHASE),
    "committed": RecordCodec(Committed, ticket=_WHOLE, verdict=_VERDICT.codec),
    "ended": RecordCodec(
        Ended, reason=_TEXT, is_breakdown=_USUALLY_NOT, causes=Defaulted(_NAMES, ())
    ),
}
_EVENT = tagged("event", _EVENTS)

RECORDS: Mapping[type, RecordCodec] = MappingProxyType(
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

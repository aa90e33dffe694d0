"""Events as JSON values and back: `decode(encode(event)) == event`, to the last bit.

The format is the table below, so that no change of the core changes it; usual values are left out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

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
from dspy_gepa.core.work import Fault, ReflectionAnswer, ReflectionKey, Repair, RequestKey
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.values.plain import Json, packed, unpacked

__all__ = ["FORMAT", "OLDER", "RECORDS", "Record", "decode", "decode_key", "encode", "encode_key"]

FORMAT = 6
"""The version of what is written; older ones were never released. Format 5 has no times."""
OLDER = "it does not say what had begun when its process died, nor what the metric said when asked"
"""Why what was written in an older format cannot be carried on."""


class _Codec(NamedTuple):
    pack: Callable[[Any], Json]
    unpack: Callable[[Json], Any]


class _Usual(NamedTuple):
    """A field that is left out where it has its usual value."""

    codec: _Codec
    value: object


class Record:
    """How values of one dataclass are stored: as a dictionary with these fields."""

    def __init__(self, kind: type, /, **fields: _Codec | _Usual) -> None:
        self.kind = kind
        self.fields: Mapping[str, _Codec | _Usual] = MappingProxyType(fields)
        self._slots = [
            (name, slot.codec, slot) if isinstance(slot, _Usual) else (name, slot, None)
            for name, slot in fields.items()
        ]
        self._required = [name for name, _, usual in self._slots if usual is None]

    def pack(self, value: object) -> dict[str, Json]:
        """The fields that are not as usual."""
        stored = {}
        for name, codec, usual in self._slots:
            held = getattr(value, name)
            if usual is None or not _is_same(held, usual.value):
                stored[name] = codec.pack(held)
        return stored

    def unpack(self, stored: Json) -> Any:
        """The value.

        Raises:
            JournalCorrupt: a field is missing, unknown or of the wrong type.
        """
        name = self.kind.__name__
        if not isinstance(stored, dict):
            raise JournalCorrupt(f"{name} is not stored as a {type(stored).__name__}")
        if missing := [field for field in self._required if field not in stored]:
            raise JournalCorrupt(f"{name} lacks {missing}")
        if unknown := [field for field in stored if field not in self.fields]:
            raise JournalCorrupt(f"{name} has no fields {unknown}")
        held = {
            field: codec.unpack(stored[field]) if field in stored else _value_of(usual)
            for field, codec, usual in self._slots
        }
        return self.kind(**held)

    @property
    def codec(self) -> _Codec:
        """For use as a field of another record."""
        return _Codec(self.pack, self.unpack)


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


def _is_same(held: object, usual: object) -> bool:
    if held is usual:
        return True
    # Written out as well, because 0.0 is equal to -0.0 and still another value.
    return type(held) is type(usual) and held == usual and repr(held) == repr(usual)


def _value_of(usual: _Usual | None) -> object:
    assert usual is not None
    # A record must not share a dictionary with another one.
    return dict(usual.value) if isinstance(usual.value, dict) else usual.value


def _leaf(make: Callable[[Any], object], *kinds: type) -> _Codec:
    """A value of one of these types; `make` gives the exact type to a value of a similar one."""

    def unpack(stored: Json) -> object:
        value = unpacked(stored)
        if type(value) not in kinds:
            raise JournalCorrupt(f"{value!r:.80} is no {kinds[0].__name__}")
        return value

    return _Codec(lambda value: packed(value if type(value) in kinds else make(value)), unpack)


def _exact_text(value: str) -> str:
    # `str` would ask a subclass what it says, which for an enumeration is its name.
    return "".join(list(value))


def _listed(stored: Json) -> list[Json]:
    if not isinstance(stored, list):
        raise JournalCorrupt(f"{stored!r:.80} is no list")
    return stored


def _many(codec: _Codec) -> _Codec:
    return _Codec(
        lambda values: [codec.pack(value) for value in values],
        lambda stored: tuple(codec.unpack(item) for item in _listed(stored)),
    )


def _fixed(make: Callable[..., Any], *codecs: _Codec) -> _Codec:
    """A tuple of known length."""

    def unpack(stored: Json) -> Any:
        if len(_listed(stored)) != len(codecs):
            raise JournalCorrupt(f"{stored!r:.80} does not have {len(codecs)} parts")
        return make(*(codec.unpack(part) for codec, part in zip(codecs, stored, strict=True)))

    return _Codec(
        lambda value: [codec.pack(part) for codec, part in zip(codecs, value, strict=True)], unpack
    )


def _tagged(key: str, records: Mapping[str, Record]) -> _Codec:
    """One of several records, with its name under this key."""
    names = {record.kind: name for name, record in records.items()}

    def pack(value: object) -> Json:
        name = names[type(value)]
        return {key: name, **records[name].pack(value)}

    def unpack(stored: Json) -> Any:
        fields = dict(stored) if isinstance(stored, dict) else {}
        name = fields.pop(key, None)
        if not isinstance(name, str) or name not in records:
            raise JournalCorrupt(f"there is no {key} {name!r:.80}")
        return records[name].unpack(fields)

    return _Codec(pack, unpack)


def _fields_of(answer: Any) -> Any:
    # DSPy's predictions are no mappings, and have this instead.
    return dict(answer.items()) if hasattr(answer, "toDict") else answer


def _kind_of_key(stored: Json) -> type:
    """A rollout's key begins with a digest, a remark's ends with a name too; others are numbers."""
    parts = _listed(stored)
    if parts and isinstance(parts[0], int):
        return ReflectionKey
    return RemarkKey if parts and not isinstance(parts[-1], int) else RolloutKey


_OUTPUT = _Codec(lambda value: packed(_fields_of(value)), unpacked)
_TEXT, _FLAG = _leaf(_exact_text, str), _leaf(bool, bool)
_USUALLY_NOT = _Usual(_FLAG, value=False)
_WHOLE, _NUMBER = _leaf(operator.index, int), _leaf(float, float, int)
_FIELDS = _leaf(dict, dict)
_WHOLES, _NAMES = _many(_WHOLE), _many(_TEXT)
_PAIR = _fixed(lambda *pair: pair, _TEXT, _TEXT)
_PAIR_KEY, _TRIAL_KEY = (_fixed(RolloutKey, _TEXT, *[_WHOLE] * n) for n in (1, 2))
_KEY = _Codec(
    lambda key: _TRIAL_KEY.pack(key) if key.trial else _PAIR_KEY.pack(key[:2]),
    lambda stored: (_TRIAL_KEY if len(_listed(stored)) == 3 else _PAIR_KEY).unpack(stored),
)
_REFLECTION_KEY = _fixed(ReflectionKey, _WHOLE, _FLAG, _WHOLE)
_REMARK_KEY = _fixed(RemarkKey, _TEXT, _WHOLE, _TEXT)
_KEYS = {RolloutKey: _KEY, RemarkKey: _REMARK_KEY, ReflectionKey: _REFLECTION_KEY}
_REQUEST_KEY = _Codec(
    lambda key: _KEYS[type(key)].pack(key),
    lambda stored: _KEYS[_kind_of_key(stored)].unpack(stored),
)
_PAIRS = _many(_PAIR)
# With its digest, by which rollouts name it: secrets may have been taken out of its texts.
_CANDIDATE = _Codec(
    lambda candidate: [candidate.digest, _PAIRS.pack(candidate.items_in_order)],
    lambda stored: _fixed(Candidate.known_by, _TEXT, _PAIRS).unpack(stored),
)

_USAGE = Record(Usage, total_tokens=_Usual(_WHOLE, 0), usd=_Usual(_NUMBER, 0.0))
_TALLY = Record(
    Tally,
    rollouts=_Usual(_WHOLE, 0),
    metric_calls=_Usual(_WHOLE, 0),
    reflection_calls=_Usual(_WHOLE, 0),
    proposals=_Usual(_WHOLE, 0),
    total_tokens=_Usual(_WHOLE, 0),
    usd=_Usual(_NUMBER, 0.0),
)
_LOST = _Usual(_TALLY.codec, Tally())
_STEP = Record(
    Step,
    component=_TEXT,
    inputs=_FIELDS,
    outputs=_FIELDS,
    failure=_Usual(_TEXT, ""),
    reply=_Usual(_TEXT, ""),
)
_TRACE = Record(
    Trace,
    inputs=_Usual(_FIELDS, {}),
    outputs=_Usual(_FIELDS, {}),
    steps=_Usual(_many(_STEP.codec), ()),
)
_ROLLOUT = Record(
    Rollout,
    score=_NUMBER,
    feedback=_Usual(_TEXT, ""),
    objectives=_Usual(_FIELDS, {}),
    attachments=_Usual(_FIELDS, {}),
    failure=_Usual(_TEXT, ""),
    is_broken=_USUALLY_NOT,
    cause=_Usual(_TEXT, ""),
    metric_calls=_Usual(_WHOLE, 1),
    usage=_Usual(_USAGE.codec, Usage()),
    trace=_Usual(_TRACE.codec, Trace()),
    output=_Usual(_OUTPUT, None),
)
_REMARK = Record(
    Remark,
    text=_Usual(_TEXT, ""),
    score=_Usual(_NUMBER, None),
    attachments=_Usual(_FIELDS, {}),
    metric_calls=_Usual(_WHOLE, 1),
    usage=_Usual(_USAGE.codec, Usage()),
)
_FAULT = Record(Fault, components=_NAMES, reason=_TEXT)
_FAULTS = _many(_FAULT.codec)
_REPAIR = Record(Repair, components=_NAMES, reply=_TEXT, faults=_FAULTS)
_REFLECTION = Record(
    ReflectionAnswer,
    ticket=_WHOLE,
    texts=_Usual(_FIELDS, {}),
    problem=_Usual(_TEXT, ""),
    metric_calls=_Usual(_WHOLE, 0),
    lm_calls=_Usual(_WHOLE, 0),
    usage=_Usual(_USAGE.codec, Usage()),
    diagnosis=_Usual(_TEXT, ""),
    lesson=_Usual(_TEXT, ""),
    is_unchanged=_USUALLY_NOT,
    faults=_Usual(_FAULTS, ()),
    repairs=_Usual(_many(_REPAIR.codec), ()),
    is_repair=_USUALLY_NOT,
    mends=_Usual(_WHOLE, 0),
    room=_Usual(_WHOLE, 0),
    naming=_Usual(_WHOLE, 0),
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
        mends=_Usual(_WHOLE, 0),
        size=_Usual(_WHOLE, 0),
    ),
    "merge": Record(
        Merge,
        hold=_TALLY.codec,
        parents=_fixed(lambda *pair: pair, _WHOLE, _WHOLE),
        ancestor=_WHOLE,
        seen=_WHOLE,
    ),
    "revalidation": Record(Revalidation, hold=_TALLY.codec, member=_WHOLE),
}
_PHASES = {
    "rolling": Record(Rolling, evaluation=_EVALUATION.codec, looks=_WHOLES),
    "remarking": Record(
        Remarking, evaluation=_EVALUATION.codec, components=_NAMES, remarks=_many(_REMARK_KEY)
    ),
    "reflecting": Record(Reflecting, evaluation=_EVALUATION.codec, components=_NAMES),
    "repairing": Record(
        Repairing, evaluation=_EVALUATION.codec, components=_NAMES, reflection=_REFLECTION.codec
    ),
    "drafted": Record(
        Drafted, evaluation=_EVALUATION.codec, components=_NAMES, reflection=_REFLECTION.codec
    ),
    "gating": Record(Gating, evaluation=_EVALUATION.codec, minibatch=_WHOLES),
    "anchoring": Record(Anchoring, evaluation=_EVALUATION.codec, beside=_many(_EVALUATION.codec)),
    "validating": Record(
        Validating, evaluation=_EVALUATION.codec, beside=_Usual(_many(_EVALUATION.codec), ())
    ),
    "settled": Record(Settled, candidate=_CANDIDATE, verdict=_VERDICT.codec),
}
_ORIGIN, _PHASE = _tagged("origin", _ORIGINS), _tagged("phase", _PHASES)
_EVENTS = {
    "issued": Record(Issued, ticket=_WHOLE, origin=_ORIGIN, phase=_PHASE),
    "rolled_out": Record(
        RolledOut, key=_KEY, rollout=_ROLLOUT.codec, is_asked_for=_Usual(_FLAG, value=True)
    ),
    "remarked": Record(
        Remarked, key=_REMARK_KEY, remark=_REMARK.codec, is_asked_for=_Usual(_FLAG, value=True)
    ),
    "reflected": Record(Reflected, reflection=_REFLECTION.codec),
    "faltered": Record(
        Faltered, key=_REQUEST_KEY, cause=_TEXT, lost=_LOST, is_of_process=_USUALLY_NOT
    ),
    "advanced": Record(Advanced, ticket=_WHOLE, phase=_PHASE),
    "committed": Record(Committed, ticket=_WHOLE, verdict=_VERDICT.codec),
    "ended": Record(Ended, reason=_TEXT, is_breakdown=_USUALLY_NOT, causes=_Usual(_NAMES, ())),
}
_EVENT = _tagged("event", _EVENTS)

RECORDS: Mapping[type, Record] = MappingProxyType(
    {
        record.kind: record
        for record in (
            *_EVENTS.values(),
            *_ORIGINS.values(),
            *_PHASES.values(),
            *(_EVALUATION, _VERDICT, _REFLECTION, _REPAIR, _FAULT, _ROLLOUT, _REMARK),
            *(_TRACE, _STEP, _TALLY, _USAGE),
        )
    }
)
"""Every type that is stored field by field."""

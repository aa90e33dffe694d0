"""The codec: every event as JSON and back."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core import events as core_events
from dspy_gepa.core import proposal as core_proposal
from dspy_gepa.core.budget import Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Advanced, Committed, Ended, Issued, Reflected, RolledOut
from dspy_gepa.core.proposal import Settled, Validating, Verdict
from dspy_gepa.core.rollout import Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.store.codec import RECORDS, decode, encode
from dspy_gepa.testing.witness import Recording
from dspy_gepa.testing.worlds import ChanceWorld
from dspy_gepa.values.plain import dumps, loads

# Of any type and value that the annotations allow: texts with surrogates, exact numbers.
TEXTS = st.text(st.characters(), max_size=8)
NUMBERS = st.floats(allow_nan=False) | st.integers()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda items: st.lists(items, max_size=3) | st.dictionaries(TEXTS, items, max_size=3),
    max_leaves=5,
)
LEAVES = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: TEXTS,
    bool: st.booleans(),
    object: VALUES,
    type(None): st.none(),
}


def values_of(kind):
    """A strategy for everything that an annotation allows."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in LEAVES:
        return LEAVES[kind]
    if origin in GENERIC:
        return GENERIC[origin](*arguments)
    hints = typing.get_type_hints(kind)
    names = kind._fields if issubclass(kind, tuple) else [f.name for f in dataclasses.fields(kind)]
    return st.builds(kind, **{name: values_of(hints[name]) for name in names})


def one_of(*kinds):
    """Values of any of these types."""
    return st.one_of(*map(values_of, kinds))


def tuples(*kinds):
    """Tuples of fixed or of any length."""
    if kinds[-1] is Ellipsis:
        return st.lists(values_of(kinds[0]), max_size=3).map(tuple)
    return st.tuples(*map(values_of, kinds))


GENERIC = {
    typing.Literal: lambda *values: st.sampled_from(values),
    typing.Union: one_of,
    types.UnionType: one_of,
    tuple: tuples,
    Mapping: lambda key, value: st.dictionaries(values_of(key), values_of(value), max_size=3),
}


def what_it_must_have(kind):
    """Values for the fields of a dataclass that have none of themselves."""
    missing = dataclasses.MISSING
    hints = typing.get_type_hints(kind)
    return {
        field.name: some(hints[field.name])
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    }


def some(kind):
    """A value that an annotation allows, the plainest."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return () if Ellipsis in arguments else tuple(map(some, arguments))
    if origin in (typing.Union, types.UnionType):
        return some(arguments[0])
    if dataclasses.is_dataclass(kind):
        return kind(**what_it_must_have(kind))
    if hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        return kind(**{name: some(hints[name]) for name in kind._fields})
    plainest = {int: 7, float: 0.5, str: "text", bool: True}
    return {} if origin is Mapping else plainest[kind] if kind in plainest else arguments[0]


def again(event):
    """The event after a way through a file."""
    return decode(loads(dumps(encode(event)).encode()))


def parts(value):
    """The value with everything in it, also what equality leaves out, and with types."""
    if dataclasses.is_dataclass(value):
        fields = [(f.name, parts(getattr(value, f.name))) for f in dataclasses.fields(value)]
        return type(value), fields
    if isinstance(value, dict):
        return [(key, parts(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [parts(item) for item in value]
    return type(value), value.hex() if isinstance(value, float) else value


@pytest.mark.parametrize("kind", typing.get_args(core_events.Event), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_event_comes_back_exactly(kind, data):
    """Whatever the annotations of an event allow: equal, and the same in every part."""
    event = data.draw(values_of(kind))
    assert again(event) == event
    assert parts(again(event)) == parts(event)


def test_every_type_of_an_event_is_in_the_table():
    """A new event, origin or phase, or a new field of one, cannot be forgotten here."""
    unions = (core_events.Event, core_proposal.Origin, core_proposal.Phase)
    kinds = {kind for union in unions for kind in typing.get_args(union)}
    assert kinds <= set(RECORDS)
    for kind, record in RECORDS.items():
        assert [field.name for field in dataclasses.fields(kind)] == list(
            record.attributes.values()
        )


@given(st.integers(0, 200))
def test_events_of_whole_runs_come_back(seed):
    """As they occur: every event of a run, traces included."""
    world = ChanceWorld(names=("a", "b"), seed=seed, feedback_calls=1)
    settings = Settings(
        train=(0, 1, 2),
        validation=(1, 2, 3),
        limits=Limits(metric_calls=60),
        window=2,
        feedback_calls=1,
        asked_about=world.names,
    )
    recording = Recording()
    run_loop(start(settings, world.student), SerialExecutor(world), [recording])
    assert [parts(again(event)) for event in recording.events] == list(map(parts, recording.events))


def test_the_format_is_as_it_was():
    """What files say, word for word: a change here needs a new format version and a reader."""
    key = RolloutKey("d1", 7)
    candidate = Candidate.of({"a": "text"})
    found = [
        dumps(encode(event))
        for event in (
            RolledOut(key, Rollout(0.5)),
            RolledOut(
                key,
                Rollout(
                    1.0,
                    feedback="good",
                    metric_calls=2,
                    trace=Trace({"q": 1}, {}, (Step("a", {"q": 1}, {}, failure="no"),)),
                ),
            ),
            Advanced(3, Settled(candidate, Verdict("rejected", "no better"))),
            Committed(3, Verdict("rejected", "no better")),
            Ended("enough"),
        )
    ]
    assert found == [
        '{"event":"rolled_out","key":["d1",7],"rollout":{"score":0.5}}',
        (
            '{"event":"rolled_out","key":["d1",7],"rollout":{"score":1.0,"feedback":"good",'
            '"metric_calls":2,"trace":{"inputs":{"q":1},"steps":[{"component":"a","inputs":'
            '{"q":1},"outputs":{},"failure":"no"}]}}}'
        ),
        (
            '{"event":"advanced","ticket":3,"phase":{"phase":"settled","candidate":'
            '["d7666ddfde7f881192049b046aa21a63",[["a","text"]]],'
            '"verdict":{"kind":"rejected","reason":"no better"}}}'
        ),
        '{"event":"committed","ticket":3,"verdict":{"kind":"rejected","reason":"no better"}}',
        '{"event":"ended","reason":"enough"}',
    ]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_what_a_value_has_of_itself_is_not_written_down(kind):
    """Of a value that was made of nothing but what it must have, only that is stored; the rest is
    then read as it is."""
    required = what_it_must_have(kind)
    value, record = kind(**required), RECORDS[kind]
    stored = record.pack(value)
    assert {record.attributes[name] for name in stored} == set(required)
    assert parts(record.unpack(stored)) == parts(value)


def test_records_share_nothing():
    """Two rollouts that were read hold mappings of their own."""
    stored = {"event": "rolled_out", "key": ["d1", 7], "rollout": {"score": 0.5}}
    one, other = decode(stored), decode(stored)
    assert one.rollout.objectives is not other.rollout.objectives


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, "no event None"),
        ({"event": "exploded"}, "no event 'exploded'"),
        ({"event": ["ended"]}, "no event"),
        ({"event": "ended"}, "Ended lacks"),
        ({"event": "ended", "reason": 3}, "3 is no str"),
        ({"event": "ended", "reason": "x", "more": 1}, "no fields"),
        ({"event": "committed", "ticket": True, "verdict": {}}, "True is no int"),
        ({"event": "committed", "ticket": 1, "verdict": []}, "Verdict is not stored as a list"),
        ({"event": "rolled_out", "key": ["d1"], "rollout": {"score": 1.0}}, "2 parts"),
        ({"event": "rolled_out", "key": 3, "rollout": {"score": 1.0}}, "no list"),
        ({"event": "rolled_out", "key": ["d", 1], "rollout": {"score": "1"}}, "no float"),
    ],
)
def test_what_is_no_event_is_refused(stored, said):
    """The error names the part that is wrong; nothing is guessed."""
    with pytest.raises(JournalCorrupt, match=said):
        decode(stored)


class Word(str, enum.Enum):
    """A text of the user's own type."""

    GOOD = "good"


def test_similar_values_are_stored_as_what_they_stand_for():
    """A number of numpy's or a text of the user's own type is stored as a number or a text."""
    event = RolledOut(RolloutKey("d1", np.int64(3)), Rollout(np.float32(0.5), Word.GOOD))
    assert again(event) == RolledOut(RolloutKey("d1", 3), Rollout(0.5, "good"))
    with pytest.raises(TypeError):
        encode(Committed("three", Verdict("failed", "")))


def test_phases_know_their_evaluation():
    """A decoded evaluation asks for the same rollouts."""
    phase = Validating(core_proposal.Evaluation(Candidate.of({"a": "x"}), (1, 2)))
    event = Issued(0, core_proposal.Seed(Tally(rollouts=2)), phase)
    assert again(event).phase.evaluation.keys == phase.evaluation.keys
    assert isinstance(again(Reflected(core_proposal.ReflectionAnswer(1))), Reflected)

"""Evidence becomes records: complete, bounded, failures first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.reflect.records import EvidenceRecord, alike, records_of


def numbered(number, *fields, **others):
    """A call with its number."""
    return number, Step(*fields, **others)


def step(component, text, failure=""):
    return Step(component, {"text": text}, {} if failure else {"label": text}, failure)


def request(*rollouts, contrasts=()):
    return ReflectionRequest(
        ticket=1,
        candidate=Candidate.of({"a": "Do a.", "b": "Do b."}),
        components=("a",),
        evidence=tuple(Evidence(10 + place, one) for place, one in enumerate(rollouts)),
        contrasts=tuple(Evidence(50 + place, one) for place, one in enumerate(contrasts)),
    )


def rollout(score, *steps, feedback="", failure=""):
    return Rollout(score, feedback, failure=failure, trace=Trace(steps=steps))


def test_a_reply_that_nobody_could_read_is_evidence_unless_the_user_leaves_it_out():
    """What a model writes instead of a field is often what an instruction can mend."""
    unread = Step("a", {"text": "1"}, {}, "no field label", reply="I think it is spam.")
    elsewhere = Step("b", {"text": "1"}, {}, "no field label", reply="I think it is spam.")
    asked = request(
        rollout(0.5, step("a", "1")), rollout(0.0, unread), rollout(0.0, step("a", "1"), elsewhere)
    )
    assert {each.example for each in records_of(asked, ["a"])} == {10, 11, 12}
    assert {each.example for each in records_of(asked, ["a"], shows_unparsed=False)} == {10, 12}


def test_every_call_of_the_component_and_of_no_other_is_kept_in_order():
    """A record holds every call of its component, in order, and no call of another component."""
    steps = (step("a", "1"), step("b", "2"), step("a", "3"), step("a", "1"))
    (record,) = records_of(request(rollout(0.5, *steps, feedback="so so")), ["a"])
    assert record == EvidenceRecord(
        example=10,
        score=0.5,
        passed=False,
        feedback="so so",
        calls=(
            numbered(1, "a", {"text": "1"}, {"label": "1"}),
            numbered(2, "a", {"text": "3"}, {"label": "3"}),
            numbered(3, "a", {"text": "1"}, {"label": "1"}),
        ),
        calls_made=3,
        turns=(
            1,
            Step("b", {"text": "2"}, {"label": "2"}),
            2,
            3,
        ),
    )


def test_a_rollout_without_a_call_counts_only_if_it_crashed():
    """A rollout that never called the component is left out, unless the program crashed."""
    untouched = rollout(0.0, step("b", "x"), feedback="wrong")
    crashed = rollout(0.0, step("b", "x"), failure="KeyError: 'x'")
    found = records_of(request(untouched, crashed), ["a"])
    turns = (Step("b", {"text": "x"}, {"label": "x"}),)
    assert found == (EvidenceRecord(11, 0.0, passed=False, failure="KeyError: 'x'", turns=turns),)


def test_what_surrounds_a_component_is_kept_only_where_it_is_something_else():
    """Program fields that a call has too are left out, and steps where all are its own."""
    trace = Trace({"text": "x", "user": "U"}, {"label": "x", "sure": True}, (step("a", "x"),))
    (record,) = records_of(request(Rollout(0.0, attachments={"map": 3}, trace=trace)), ["a"])
    assert record.inputs == {"user": "U"}
    assert record.outputs == {"sure": True}
    assert record.turns == ()
    assert record.attachments == {"map": 3}
    # Arrays and the like compare to no bool, and 1 is not True.
    trace = Trace({"text": 1}, {}, (Step("a", {"text": True}, {}), step("b", "y", "broken")))
    (record,) = records_of(request(Rollout(0.0, trace=trace)), ["a"])
    assert record.inputs == {"text": 1}
    assert record.turns == (1, Step("b", {"text": "y"}, {}, "broken"))


def test_failed_then_low_then_high_then_perfect():
    """Failed rollouts come first, then low scores, high ones, perfect ones; equals keep order.

    A score above the perfect one is not perfect: there is more to reach than was said.
    """
    call = step("a", "x")
    found = records_of(
        request(
            rollout(1.0, call),
            rollout(0.5, call),
            rollout(0.2, call),
            rollout(0.5, call),
            rollout(0.3, call, failure="crash"),
            rollout(2.0, call, failure="crash above"),
            rollout(1.5, call),
        ),
        ["a"],
    )
    assert [one.example for one in found] == [14, 15, 12, 11, 13, 16, 10]
    assert [one.passed for one in found] == [False] * 6 + [True]


def test_without_a_perfect_score_every_record_counts_as_failing():
    """Where no score is perfect, nothing passes."""
    (record,) = records_of(request(rollout(9.0, step("a", "x"))), ["a"], perfect_score=None)
    assert not record.passed


def test_feedback_on_the_component_replaces_that_on_the_rollout():
    """Component feedback is shown in place of the rollout's, except where it is blank."""
    rollouts = [rollout(0.0, step("a", "x"), feedback="general") for _ in range(3)]
    found = records_of(request(*rollouts), ["a"], feedback={"a": {10: "special", 11: " "}})
    assert [one.feedback for one in found] == ["special", "general", "general"]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 12))
def test_bounded_calls_prefer_failures_and_keep_the_order(failed, most):
    """At most so many calls are kept, in order, and no failed one is dropped for a good one."""
    steps = [step("a", str(place), "bad" if bad else "") for place, bad in enumerate(failed)]
    found = records_of(request(rollout(0.0, *steps, failure="x")), ["a"], calls_per_record=most)
    (record,) = found
    numbers = [number for number, _ in record.calls]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == min(most, len(failed))
    assert record.calls_made == len(failed)
    assert sum(bool(call.failure) for _, call in record.calls) == min(most, sum(failed))
    assert all(call.inputs == {"text": str(number - 1)} for number, call in record.calls)


def test_of_many_good_calls_the_outermost_are_kept():
    """With nothing failed, the first and the last calls are kept."""
    steps = [step("a", str(place)) for place in range(9)]
    (record,) = records_of(request(rollout(0.0, *steps)), ["a"], calls_per_record=4)
    assert [number for number, _ in record.calls] == [1, 2, 8, 9]


def test_calls_of_all_components_that_are_asked_about_stand_in_one_record():
    """In order, each named; only what is of none of them is a turn around them."""
    steps = (step("a", "1"), step("c", "2"), step("b", "3"), step("a", "4"))
    (record,) = records_of(request(rollout(0.5, *steps)), ["a", "b"])
    assert [(number, call.component) for number, call in record.calls] == [
        (1, "a"),
        (2, "b"),
        (3, "a"),
    ]
    assert record.turns == (
        1,
        Step("c", {"text": "2"}, {"label": "2"}),
        2,
        3,
    )
    (without,) = records_of(request(rollout(0.5, steps[0], steps[2])), ["a", "b"])
    assert without.turns == ()


def test_a_rollout_counts_where_one_of_the_components_was_called():
    """The question is about all of them."""
    found = records_of(
        request(rollout(0.0, step("b", "x")), rollout(0.0, step("c", "x"))), ["a", "b"]
    )
    assert [one.example for one in found] == [10]


def test_of_several_components_each_is_said_what_was_said_of_it_alone():
    """Beside the feedback on the whole, and not again where it is the same."""
    both = rollout(0.0, step("a", "x"), step("b", "x"), feedback="general")
    said = {"a": {10: "special"}, "b": {10: "general", 11: " "}}
    first, second = records_of(request(both, both), ["a", "b"], feedback=said)
    assert (first.feedback, first.remarks) == ("general", {"a": "special"})
    assert (second.feedback, second.remarks) == ("general", {})
    (alone, _) = records_of(request(both, both), ["a"], feedback=said)
    assert (alone.feedback, alone.remarks) == ("special", {})


def test_contrasts_stand_last_and_only_beside_something():
    """As many as are asked for, of those that say something about the components."""
    good = [rollout(1.0, step(name, "x")) for name in ("a", "b", "a", "a")]
    asked = request(rollout(0.0, step("a", "x")), contrasts=good)
    found = records_of(asked, ["a"], contrasts=2)
    assert [(one.example, one.is_contrast) for one in found] == [
        (10, False),
        (50, True),
        (52, True),
    ]
    assert len(records_of(asked, ["a"])) == 1
    nothing = request(rollout(0.0, step("b", "x")), contrasts=good)
    assert records_of(nothing, ["a"], contrasts=2) == ()


def given_text(example, text, score=1.0):
    """A run with this input."""
    return Evidence(example, Rollout(score, trace=Trace({"text": text})))


def test_the_contrasts_that_are_most_like_the_evidence_are_shown():
    """By the words of what the program was given; of equals the first, in their order."""
    shown = [given_text(1, "My invoice is wrong")]
    texts = ["Where to?", "An INVOICE came", "wrong invoice", "wrong invoice", ""]
    others = [given_text(place, text) for place, text in enumerate(texts, start=2)]
    assert [one.example for one in alike(others, shown, 2)] == [4, 5]
    assert [one.example for one in alike(others, shown, 3)] == [3, 4, 5]
    assert [one.example for one in alike(others, [], 2)] == [2, 3]
    assert alike([], shown, 2) == []
    assert len(alike(others, shown, 9)) == 5


def test_of_contrasts_that_are_equally_alike_the_first_is_shown():
    """Whatever the order in which a process goes through words: in each pair here both have as many
    words in common with the failure, and as rare ones."""
    for case in range(40):
        rare = [[f"{side}{case}x{n}" for n in range(9)] for side in "ab"]
        lines = [" ".join(words[: 9 - place]) for place in range(8) for words in rare]
        others = [given_text(place, line) for place, line in enumerate(lines)]
        failed = given_text(99, " ".join([*rare[0], *rare[1]]), 0.0)
        assert [one.example for one in alike(others, [failed], 1)] == [0]


def test_contrasts_are_found_without_spaces_between_words():
    """Chinese is compared by its characters: a sentence has no other word in common."""
    others = [given_text(place, text) for place, text in enumerate(["包裹在哪里？", "灯坏了。"])]
    assert [one.example for one in alike(others, [given_text(9, "我的灯不亮")], 1)] == [1]


def test_a_contrast_has_in_common_with_a_failure_what_few_have():
    """The form of the task, which most inputs share, is no likeness; each failure has its turn,
    the lowest score first, and what went well in the minibatch has none."""
    forms = ("Where is my {}?", "The {} is broken.", "I sent the {} back.")
    things = ("lamp", "drill", "tent", "radio")
    texts = [form.format(thing) for form in forms for thing in things]
    others = [given_text(place, text, 1.0) for place, text in enumerate(texts)]
    shown = [
        given_text(90, "Is the radio here?", 1.0),
        given_text(91, "Where is my old tent?", 0.5),
        given_text(92, "Where is my old drill?", 0.0),
    ]
    assert [one.example for one in alike(others, shown, 1)] == [1]
    assert [one.example for one in alike(others, shown, 2)] == [1, 2]
    assert [one.example for one in alike(others, shown, 4)] == [1, 2, 5, 6]

"""What a reflection is told beside its minibatch, and the one question that repairs an answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dspy_gepa.core.budget import Limits, Usage
from dspy_gepa.core.components import every, round_robin
from dspy_gepa.core.events import Reflected
from dspy_gepa.core.proposal import Merge, Mutation, Reflecting, Repairing, TextsReady
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.sampling import EpochSampler, FailureFirstSampler
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import (
    Fault,
    Lesson,
    ReflectionAnswer,
    ReflectionKey,
    ReflectionRequest,
    Repair,
    RequestFailure,
)
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.store.codec import decode, encode
from dspy_gepa.testing.orders import OrderedExecutor, newest_first, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Recording, Witness, outcome
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("a", "b"), luck=0.3)
SETTINGS = Settings(
    train=tuple(range(10)),
    validation=tuple(range(6, 16)),
    limits=Limits(metric_calls=260),
    sampler=FailureFirstSampler(unknown=6),
    minibatch_sizes=(2,),
    contrasts=3,
    components=every,
)
CASES = worlds().flatmap(
    lambda world: st.tuples(st.just(world), settings(world, max_metric_calls=60))
)


@dataclass
class Told:
    """A worker that does what another does and keeps what every reflection was asked."""

    worker: object
    asked: dict[ReflectionKey, ReflectionRequest] = field(default_factory=dict)

    def __call__(self, request):
        if isinstance(request, ReflectionRequest):
            self.asked[request.key] = request
        return self.worker(request)


def wordy(world):
    """The world, with words of its own for every change."""

    def answer(request):
        said = world(request)
        if isinstance(request, ReflectionRequest):
            return replace(said, lesson=f"lesson of {request.ticket}")
        return said

    return answer


def asked_in(executor_of, *, world=WORLD, settings=SETTINGS):
    """What every reflection of a run was asked, and where the run ended."""
    told = Told(wordy(world))
    executor = executor_of(told)
    try:
        state = run_loop(start(settings, world.student), executor).state
    finally:
        executor.close()
    return told.asked, state


def test_contrasts_are_known_rollouts_of_the_parent_that_did_better():
    """On other training examples than the minibatch's, the best first; they cost nothing."""
    asked, state = asked_in(SerialExecutor)
    shown = 0
    for request in asked.values():
        minibatch = {each.example for each in request.evidence}
        worst = min(each.rollout.score for each in request.evidence)
        scores = [each.rollout.score for each in request.contrasts]
        assert scores == sorted(scores, reverse=True)
        assert all(score > worst for score in scores)
        assert len(scores) <= 3
        for each in request.contrasts:
            assert each.example in SETTINGS.train
            assert each.example not in minibatch
            key = RolloutKey(request.candidate.digest, each.example)
            assert state.known[key] == each.rollout
        shown += len(scores)
    assert shown > len(asked)
    none, without = asked_in(SerialExecutor, settings=replace(SETTINGS, contrasts=0))
    assert not any(request.contrasts for request in none.values())
    assert outcome(state)[:3] == outcome(without)[:3]
    assert state.tally == without.tally


def test_what_is_kept_of_an_earlier_minibatch_is_a_contrast_later():
    """Whatever the parent was run on before the proposal was issued, and what it looked at."""
    asked, state = asked_in(SerialExecutor)
    earlier = [
        each
        for request in asked.values()
        for each in request.contrasts
        if each.example not in state.history[request.ticket].origin.drawn_examples
    ]
    assert earlier


@pytest.mark.parametrize("window", [1, 3])
def test_the_same_is_told_at_any_thread_count_and_in_any_order(window):
    """A question to the reflection LM follows from what was over when its proposal was issued."""
    chosen = replace(SETTINGS, window=window)
    expected, state = asked_in(SerialExecutor, settings=chosen)
    assert len(expected) > 5
    orders = [lambda told, seed=seed: OrderedExecutor(told, shuffled(seed)) for seed in range(3)]
    orders += [lambda told: OrderedExecutor(told, newest_first)]
    orders += [lambda told: ThreadedExecutor(told, 4)]
    for executor_of in orders:
        asked, other = asked_in(executor_of, settings=chosen)
        assert asked == expected
        assert outcome(other) == outcome(state)


@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 2)
@given(CASES, st.integers(0, 999))
def test_no_order_of_answers_shows_in_what_a_reflection_is_told(case, seed):
    """Over all windows, budgets, samplers and worlds in which anything fails."""
    world, chosen = case
    expected, _ = asked_in(SerialExecutor, world=world, settings=chosen)
    asked, _ = asked_in(
        lambda told: OrderedExecutor(told, shuffled(seed)), world=world, settings=chosen
    )
    assert asked == expected


@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 3)
@given(CASES, st.integers(0, 99))
def test_a_run_that_is_resumed_tells_the_same(case, seed):
    """Wherever it broke off: what is asked once more is asked in the same words."""
    world, chosen = case
    recording, told = Recording(), Told(wordy(world))
    begun = start(chosen, world.student)
    run_loop(begun, SerialExecutor(told), [recording])
    every = max(9, len(recording.events) // 4)
    for count in range(seed % every, len(recording.events), every):
        rest = Told(wordy(world))
        run_loop(reduce(evolve, recording.events[:count], begun), SerialExecutor(rest))
        assert rest.asked.items() <= told.asked.items()


def test_lessons_are_words_of_the_reflection_and_outcomes_of_the_engine():
    """Of the line of ancestors, and of what was rejected on the parent; nothing that came later."""
    asked, state = asked_in(SerialExecutor)
    kept = rejected = 0
    for request in asked.values():
        origin = state.history[request.ticket].origin
        line = {state.members[origin.parent].ticket}
        pending = [origin.parent]
        while pending:
            member = state.members[pending.pop()]
            line |= {state.members[parent].ticket for parent in member.parents}
            pending += member.parents
        tickets = [lesson.ticket for lesson in request.lessons]
        assert tickets == sorted(set(tickets))
        assert all(ticket < origin.visible_proposals for ticket in tickets)
        for lesson in request.lessons:
            record = state.history[lesson.ticket]
            assert lesson.words == f"lesson of {lesson.ticket}"
            assert lesson.is_kept == (lesson.ticket in line)
            assert lesson.is_kept == (record.verdict.kind == "accepted")
            assert lesson.is_kept or record.origin.parent == origin.parent
            assert 0 < lesson.gained + lesson.lost <= lesson.examples or not lesson.is_kept
            kept, rejected = kept + lesson.is_kept, rejected + (not lesson.is_kept)
    assert kept
    assert rejected


def test_a_kept_change_has_gained_on_what_both_were_run_on():
    """Counted over all validation and training examples that member and parent have in common."""
    asked, state = asked_in(SerialExecutor)
    request = list(asked.values())[-1]
    lesson = next(lesson for lesson in request.lessons if lesson.is_kept)
    record = state.history[lesson.ticket]
    parent = state.members[record.origin.parent].candidate
    gains = []
    for example in range(16):
        keys = [RolloutKey(each.digest, example) for each in (record.candidate, parent)]
        if all(key in state.charged for key in keys):
            new, old = (state.known[key].score for key in keys)
            gains.append(new - old)
    assert 0 < lesson.examples <= 2 * len(gains)
    assert lesson.gained > lesson.lost
    changed = {name for name, text in record.candidate.items() if text != parent[name]}
    assert set(lesson.components) == changed


def useless(ticket):
    return " ".join(f"w{ticket}x{n}" for n in range(3))


class Useless:
    """Writes texts of no use, or what it is told to."""

    def __init__(self, **answers):
        self.answers = answers

    def __call__(self, request):
        if not isinstance(request, ReflectionRequest):
            return RuleWorld(names=("a", "b"), luck=0.0)(request)
        given = {"texts": {"a": useless(request.ticket)}, "lesson": f"lesson of {request.ticket}"}
        return ReflectionAnswer(
            request.ticket, **given | self.answers, lm_calls=1, is_repair=bool(request.repairs)
        )


def finished(worker, *, proposals=12, listeners=(), **chosen):
    limits = Limits(metric_calls=1_000, proposals=proposals)
    settings = Settings(
        train=(0, 1, 2), validation=(3, 4), limits=limits, sampler=EpochSampler(3), **chosen
    )
    return run_loop(start(settings, WORLD.student), SerialExecutor(worker), listeners).state


def test_the_newest_that_were_rejected_on_the_parent_are_told():
    """Four at most; what they changed, and that nothing became better."""
    told = Told(Useless())
    finished(told)
    lessons = [told.asked[key].lessons for key in sorted(told.asked)]
    assert list(map(len, lessons)) == [0, 1, 2, 3, *[4] * 8]
    assert [lesson.ticket for lesson in lessons[-1]] == [8, 9, 10, 11]
    first = replace(lessons[-1][0], candidate=None, evidence=())
    assert first == Lesson(8, ("a",), "lesson of 8", False, 0, 0, first.examples)
    assert first.examples >= 1


@pytest.mark.parametrize(
    "answers",
    [
        {"texts": {}, "is_unchanged": True},
        {"texts": {}, "problem": "Hm."},
        {"texts": {"a": "answer"}},
    ],
)
def test_what_changed_nothing_is_no_lesson(answers):
    """There is nothing that it tried."""
    told = Told(Useless(**answers))
    finished(told, proposals=6)
    assert not any(request.lessons for request in told.asked.values())


def test_no_change_is_a_skipped_proposal_and_no_failure():
    """However many in a row; its charge is counted and its diagnosis is kept and told."""
    unchanged = Useless(texts={}, is_unchanged=True, diagnosis="The data\nis wrong.")
    state = finished(unchanged, proposals=8, max_failures_in_a_row=3)
    done = list(state.history)[1:]
    assert len(done) == 8
    assert {each.verdict.kind for each in done} == {"skipped"}
    assert all(each.verdict.reason.endswith(": The data is wrong.") for each in done)
    assert {each.diagnosis for each in done} == {"The data\nis wrong."}
    assert state.spent.reflection_calls == 8
    failed = finished(Useless(texts={}, problem="Hm."), proposals=8, max_failures_in_a_row=3)
    assert len(failed.history) == 4


def test_a_verdict_repeats_the_beginning_of_a_diagnosis():
    """All of it is in the record of the proposal."""
    endless = Useless(texts={}, is_unchanged=True, diagnosis="x" * 999)
    (done,) = list(finished(endless, proposals=1).history)[1:]
    assert done.verdict.reason == "the reflection found no text at fault: " + "x" * 300
    assert len(done.diagnosis) == 999


NO_TEXT = Repair(("a",), "Hm.", (Fault(("a",), "it has no text"),))


class Repaired:
    """Gives a reply of which something cannot be used, and repairs it as it is told to."""

    def __init__(self, **second):
        self.second = second
        self.asked = []

    def __call__(self, request):
        if not isinstance(request, ReflectionRequest):
            return WORLD(request)
        self.asked.append(request)
        said = ReflectionAnswer(request.ticket, {"b": "answer rule1 rule3"}, lm_calls=1)
        if not request.repairs:
            return replace(
                said,
                usage=Usage(120, 0.5),
                metric_calls=2,
                diagnosis="a is at fault",
                lesson="first",
                repairs=(NO_TEXT,),
            )
        return replace(said, is_repair=True, **{"texts": {}, **self.second})


def whole_run(worker, *, listeners=(), **limits):
    limits = Limits(**{"metric_calls": 400, "proposals": 1, **limits})
    settings = replace(SETTINGS, limits=limits, reflection_calls=2, feedback_calls=1)
    return run_loop(start(settings, WORLD.student), SerialExecutor(worker), listeners).state


def test_a_repair_is_one_question_more_and_both_answers_are_one():
    """Texts of both, the diagnosis of the first and the newest lesson; each is charged."""
    worker = Repaired(texts={"a": "answer rule0"}, lesson="second", usage=Usage(15, 0.25))
    state = whole_run(worker)
    first, second = worker.asked
    assert (first.key, second.key) == (ReflectionKey(1), ReflectionKey(1, is_repair=True))
    assert second == replace(first, repairs=(NO_TEXT,))
    record = state.history[1]
    assert dict(record.candidate) == {"a": "answer rule0", "b": "answer rule1 rule3"}
    assert (record.diagnosis, record.lesson) == ("a is at fault", "second")
    assert record.charge.reflection_calls == state.spent.reflection_calls == 2
    assert record.charge.usd == pytest.approx(0.75)
    assert record.charge.total_tokens == 135


def test_a_repair_that_gives_nothing_leaves_what_the_first_answer_gave():
    """Nobody is asked a third time, whatever it says is to be repaired."""
    again = (NO_TEXT,)
    worker = Repaired(problem="a: it has no text", repairs=again)
    state = whole_run(worker)
    assert len(worker.asked) == 2
    assert dict(state.history[1].candidate) == {"a": "answer", "b": "answer rule1 rule3"}


def test_no_change_in_a_repair_is_a_skipped_proposal():
    """As it is in the first answer."""

    def worker(request):
        said = Repaired(is_unchanged=True)(request)
        return replace(said, texts={}) if isinstance(said, ReflectionAnswer) else said

    assert whole_run(worker).history[1].verdict.kind == "skipped"


def test_between_the_questions_only_the_second_is_asked_again():
    """A run that dies there pays for the first reply once."""
    worker, recording = Repaired(texts={"a": "answer rule0"}), Recording()
    expected = whole_run(worker, listeners=[recording])
    (place,) = [
        number
        for number, event in enumerate(recording.events)
        if isinstance(event, Reflected) and not event.reflection.is_repair
    ]
    # Before and after the phase that follows from the answer.
    for count in (place + 1, place + 2):
        state = reduce(evolve, recording.events[:count], recording_start(expected))
        again = Repaired(texts={"a": "answer rule0"})
        resumed = run_loop(state, SerialExecutor(again)).state
        assert [request.key for request in again.asked] == [ReflectionKey(1, is_repair=True)]
        assert again.asked[0] == worker.asked[1]
        assert outcome(resumed) == outcome(expected)


def recording_start(state):
    return start(state.settings, WORLD.student)


def test_phases_and_keys_tell_the_questions_apart():
    """An answer to the one decides nothing while the other is asked."""
    state = start(replace(SETTINGS, validation=(0,), train=(0,)), WORLD.student)
    worker = Repaired(texts={"a": "answer rule0"})
    phases = []
    answers = {}
    for _ in range(40):
        for event in decide(state, None):
            state = evolve(state, event)
        live = [each.phase for each in state.live if each.ticket == 1]
        phases += [type(phase) for phase in live if type(phase) not in phases]
        asked = requests(state)
        if not asked or len(state.history) > 1:
            break
        for request in asked:
            answer = worker(request)
            if isinstance(answer, ReflectionAnswer):
                if answer.is_repair:
                    assert decide(state, answers[ReflectionKey(1)]) == ()
                elif request.ticket == 1:
                    early = replace(answer, is_repair=True)
                    assert decide(state, early) == ()
                answers.setdefault(answer.key, answer)
            for event in decide(state, answer):
                state = evolve(state, event)
                phases += [
                    type(each.phase)
                    for each in state.live
                    if each.ticket == 1 and type(each.phase) not in phases
                ]
    assert [each for each in phases if each in (Reflecting, Repairing, TextsReady)] == [
        Reflecting,
        TextsReady,
        Repairing,
    ]


def test_a_setback_of_the_second_question_leaves_the_first_answer():
    """It stays outstanding, in the same words; what it cost in vain is counted."""
    worker, recording = Repaired(texts={"a": "answer rule0"}), Recording()
    expected = whole_run(worker, listeners=[recording])
    (place,) = [
        number
        for number, event in enumerate(recording.events)
        if isinstance(event, Reflected) and not event.reflection.is_repair
    ]
    state = recording.states[place + 1]
    (second,) = [each for each in requests(state) if isinstance(each, ReflectionRequest)]
    for _ in range(2):
        vain = RequestFailure(second.key, "busy", is_lasting=False, lm_calls=1)
        state = reduce(evolve, decide(state, vain), state)
        assert second in requests(state)
    assert state.lost.reflection_calls == 2
    ended = run_loop(state, SerialExecutor(worker)).state
    assert ended.history[1] == expected.history[1]
    assert ended.tally.reflection_calls == expected.tally.reflection_calls + 2


def test_a_merge_inherits_the_lessons_of_both_lines():
    """What either parent's ancestors tried is told to its own rewrites."""
    world = RuleWorld(names=("a", "b", "c"), luck=0.1)
    chosen = replace(SETTINGS, limits=Limits(metric_calls=700), components=round_robin)
    asked, state = asked_in(SerialExecutor, world=world, settings=chosen)
    merged = [
        (request, state.members[origin.parent])
        for request in asked.values()
        for origin in [state.history[request.ticket].origin]
        if isinstance(state.history[state.members[origin.parent].ticket].origin, Merge)
    ]
    assert merged
    for request, member in merged:
        told = {lesson.ticket for lesson in request.lessons if lesson.is_kept}
        parents = {state.members[parent].ticket for parent in member.parents if parent}
        assert {t for t in parents if isinstance(state.history[t].origin, Mutation)} <= told


@given(CASES)
def test_every_question_is_paid_for_once(case):
    """Over repairs, failures and refusals: what was carried out is what is charged."""
    world, chosen = case
    witness = Witness(world)
    state = run_loop(start(chosen, world.student), OrderedExecutor(witness, newest_first)).state
    assert state.tally.reflection_calls == witness.tally.reflection_calls
    keys = [each.key for each in witness.answers if isinstance(each, ReflectionAnswer)]
    assert len(keys) == len(set(keys))


def test_what_a_model_can_read_is_known_after_a_resume():
    """A refusal of a prompt is paid for once in a run: all later questions are told."""
    asked = []

    def worker(request):
        answer = WORLD(request)
        if isinstance(request, ReflectionRequest):
            asked.append(request)
            rooms = {1: 9_000, 2: 12_000, 3: 5_000}
            answer = replace(answer, room=rooms.get(request.ticket, 0))
        return answer

    recording = Recording()
    settings = replace(SETTINGS, limits=Limits(metric_calls=400, proposals=5), window=1)
    state = run_loop(start(settings, WORLD.student), SerialExecutor(worker), [recording]).state
    assert [request.room for request in asked] == [0, 9_000, 9_000, 5_000, 5_000]
    replayed = reduce(evolve, map(decode, map(encode, recording.events)), recording_start(state))
    assert replayed.room == state.room == 5_000

"""Every choice on the way of a proposal, each on the smallest task that shows it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from dspy_gepa.core.budget import Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.proposal import Merge, Mutation, Verdict
from dspy_gepa.core.rollout import Remark, Rollout, Step, Trace
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import (
    ReflectionAnswer,
    RemarkAnswer,
    RemarkRequest,
    RolloutAnswer,
    RolloutRequest,
)
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor

STUDENT = Candidate.of({"a": "a0", "b": "b0"})
PAIR = {"train": (0, 1), "validation": (10, 11), "sampler": EpochSampler(2), "use_merge": False}


@dataclass(frozen=True)
class Task:
    """A worker made of plain functions; by default everything scores 0.5 and texts get longer."""

    score: Callable[[Candidate, int], float] = lambda candidate, example: 0.5
    rewrite: Callable[[int, Candidate, str], str | None] = lambda ticket, candidate, name: (
        candidate[name] + "+"
    )
    called: Callable[[Candidate, int], str] = lambda candidate, example: "ab"

    def __call__(self, request):
        if isinstance(request, RolloutRequest):
            candidate, example = request.candidate, request.example
            steps = tuple(Step(name, {}, {}) for name in self.called(candidate, example))
            rollout = Rollout(self.score(candidate, example), trace=Trace(steps=steps))
            return RolloutAnswer(request.key, rollout)
        drafts = {
            name: self.rewrite(request.ticket, request.candidate, name)
            for name in request.components
        }
        texts = {name: text for name, text in drafts.items() if text is not None}
        problem = "" if len(texts) == len(drafts) else "no text in the reply"
        return ReflectionAnswer(request.ticket, texts, problem, lm_calls=1)


def by_length(candidate, _example):
    """A score that rises with every rewrite."""
    return sum(len(text) for text in candidate.values()) / 100


def play(task, *, limit=200, executor=None, **settings):
    """The final state of a run on a task."""
    state = start(Settings(limits=Limits(metric_calls=limit), **(PAIR | settings)), STUDENT)
    return run_loop(state, (executor or SerialExecutor)(task)).state


def verdicts(state, *, first=1, last=None):
    """The verdicts on proposals, the seed left out."""
    return [record.verdict for record in state.history[first:last]]


def test_the_seed_is_validated_first():
    """Ticket 0 is the student on the whole validation set; it becomes member 0."""
    state = play(Task(), limit=2)
    (seed,) = state.history
    assert (seed.candidate, seed.charge) == (STUDENT, Tally(rollouts=2, metric_calls=2))
    assert seed.verdict == Verdict("accepted", "validated")
    assert state.members[0].scores.tolist() == [0.5, 0.5]
    assert state.ending.startswith("the budget is used up: 2 of 2 metric calls,")


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_below_the_validation_set_scores_a_part_of_it(limit):
    """With less budget than the seed's validation needs, it is spent to the last call."""
    state = play(Task(), limit=limit, validation=(10, 11, 12))
    assert state.spent == state.tally == Tally(rollouts=limit, metric_calls=limit)
    assert len(state.members) == 1
    assert str(state.members[0].scores.tolist()) == str(
        [0.5] * limit + [float("nan")] * (3 - limit)
    )
    assert state.best == 0


def test_better_children_become_members():
    """A child that improves the minibatch is validated and joins the pool, with its lineage."""
    state = play(Task(by_length), limit=20)
    seed, first, *_ = state.members
    assert dict(first.candidate) == {"a": "a0+", "b": "b0"}
    assert (first.parents, first.ticket, seed.rewrites_before, first.rewrites_before) == (
        (0,),
        1,
        0,
        1,
    )
    # The seed on 2 validation and 2 train examples and the child on its minibatch came before.
    assert (seed.discovery_metric_calls, first.discovery_metric_calls) == (0, 6)
    assert state.best == len(state.members) - 1


def test_calls_before_a_discovery_include_the_gate_where_the_sets_overlap():
    """What the gate paid came before validation, also on examples that validation uses again."""
    state = play(Task(by_length), limit=20, validation=(0, 1, 2))
    assert state.members[1].discovery_metric_calls == 3 + 2


def test_round_robin_goes_through_the_components_along_a_lineage():
    """Each rewrite of a lineage takes the next component."""
    state = play(Task(by_length), limit=60, selection=lambda view, _random: len(view.scores) - 1)
    newest = [dict(member.candidate) for member in state.members][:4]
    assert [texts["a"] + texts["b"] for texts in newest] == ["a0b0", "a0+b0", "a0+b0+", "a0++b0+"]


def test_an_equal_child_is_rejected():
    """A child that is no better on the minibatch is not validated."""
    state = play(Task(), limit=20)
    assert verdicts(state)[0] == Verdict("rejected", "no better on 2 examples: 1 against 1")
    assert len(state.members) == 1


def test_the_gate_is_a_setting():
    """Another gate lets other children pass."""
    state = play(Task(), limit=20, gate=lambda child, parents: len(parents) == len(child) - 1)
    assert len(state.members) > 1


@pytest.mark.parametrize("chosen", [-1, 1, None, "0"])
def test_a_selection_that_names_no_member_is_told_so(chosen):
    """What is no member's id is refused, with what was given and what there is."""
    with pytest.raises(ValueError, match=f"returned {chosen!r}; a member's id .* one of 0 to 0"):
        play(Task(), selection=lambda _view, _random: chosen)


def test_perfect_minibatches_are_skipped():
    """A minibatch on which every score is perfect has nothing to teach, unless told otherwise."""
    perfect = Task(lambda _candidate, example: 1.0 if example < 10 else 0.0)
    skipped = Verdict("skipped", "every score on the minibatch is perfect")
    assert set(verdicts(play(perfect, limit=20))) == {skipped}
    assert skipped not in verdicts(play(perfect, limit=20, skip_perfect_score=False))
    assert skipped not in verdicts(play(perfect, limit=20, perfect_score=2.0))


def test_what_was_not_called_is_not_rewritten():
    """Texts that had no part in the answers are not blamed for them."""
    only_b = play(Task(by_length, called=lambda *_: "b"), limit=40)
    assert {texts["a"] for texts in (m.candidate for m in only_b.members)} == {"a0"}
    silent = play(Task(by_length, called=lambda *_: ""), limit=20)
    reason = "no component that may be rewritten was called on the minibatch"
    assert set(verdicts(silent)) == {Verdict("skipped", reason)}


def test_a_text_is_in_use_where_one_of_its_owners_was_called():
    """As a description is that has no steps of its own."""
    task = Task(by_length, called=lambda *_: "b")
    for owners, rewritten in (({"a": ("b", "c")}, {"a", "b"}), ({"a": ("c",)}, {"b"})):
        members = play(task, limit=60, owners=owners).members
        texts = {name: {member.candidate[name] for member in members} for name in "ab"}
        assert {name for name in "ab" if len(texts[name]) > 1} == rewritten


def test_a_selector_that_names_what_was_not_called_is_overruled():
    """Only called components of a selection count; where none is left, the proposal is skipped."""
    task = Task(by_length, called=lambda *_: "b")
    both = play(task, limit=20, components=lambda _view: ("a", "b"))
    assert dict(both.members[1].candidate) == {"a": "a0", "b": "b0+"}
    none = play(task, limit=20, components=lambda _view: ("a",))
    reason = "none of the selected components ['a'] was called on the minibatch"
    assert set(verdicts(none)) == {Verdict("skipped", reason)}


def test_a_reflection_without_texts():
    """Unchanged texts are rejected; without any because of a problem, the proposal failed."""
    same = play(Task(rewrite=lambda _ticket, candidate, name: candidate[name]), limit=20)
    assert set(verdicts(same)) == {Verdict("rejected", "the texts are unchanged")}
    none = play(Task(rewrite=lambda *_: None), limit=20)
    assert set(verdicts(none)) == {Verdict("failed", "no text in the reply")}


def test_a_part_of_the_texts_is_enough():
    """Where one of two components got a text, the proposal goes on with it."""
    task = Task(by_length, lambda _ticket, c, name: c[name] + "+" if name == "a" else None)
    state = play(task, limit=20, components=lambda view: view.called)
    assert dict(state.members[1].candidate) == {"a": "a0+", "b": "b0"}


def test_texts_of_a_member_are_not_paid_again():
    """A child with the texts of a member is rejected before its gate, without a rollout."""
    task = Task(by_length, lambda *_: "longer", called=lambda *_: "a")
    state = play(task, limit=30, selection=lambda _view, _random: 0)
    assert verdicts(state)[0].kind == "accepted"
    assert set(verdicts(state, first=2)) == {Verdict("rejected", "member 1 has the same texts")}
    free = Tally(reflection_calls=1, proposals=1)
    assert {record.charge for record in state.history[2:]} == {free}


def test_twins_in_one_window_make_one_member():
    """Of two live proposals with the same texts the first becomes a member, and each pair is
    paid once."""
    task = Task(by_length, lambda *_: "longer", called=lambda *_: "a")
    state = play(task, limit=30, window=2, selection=lambda _view, _random: 0)
    assert verdicts(state)[:2] == [
        Verdict("accepted", "validated"),
        Verdict("rejected", "member 1 has the same texts"),
    ]
    assert [record.charge.metric_calls for record in state.history[:3]] == [2, 6, 0]


def test_a_proposal_holds_its_worst_case():
    """The hold counts nothing that was paid already, and shared examples once."""
    fresh, known = play(
        Task(), limit=50, validation=(1, 2), feedback_calls=1, selection=lambda *_: 0
    ).history[1:3]
    # Parent on 0 and 1, child on 0, 1, 2, feedback on two; then the parent is paid.
    one = Tally(rollouts=2 + 3, metric_calls=2 + 3 + 2, reflection_calls=2, proposals=1)
    other = Tally(rollouts=3, metric_calls=3 + 2, reflection_calls=2, proposals=1)
    assert (fresh.origin.hold, known.origin.hold) == (one, other)


def test_nothing_is_begun_that_might_not_be_finished():
    """One call less than the next worst case, and the run ends; with that one it goes on.

    The first proposal looks at one example, where more do not fit.
    """
    needed = 2 + (1 + 3)
    begun = play(Task(), limit=needed)
    assert [len(each.origin.drawn_examples) for each in begun.history[1:]] == [1]
    ended = play(Task(), limit=needed - 1)
    assert (len(ended.history), ended.spent.metric_calls) == (1, 2)
    assert [len(each.origin.drawn_examples) for each in play(Task(), limit=8).history[1:2]] == [2]


def perfect_train(_candidate, example):
    """A score that leaves nothing to learn on train examples, but something in validation."""
    return 1.0 if example < 100 else 0.5


def test_a_train_set_without_failures_ends_the_run():
    """Where two epochs asked for no rollout, the run ends and says why."""
    state = play(Task(perfect_train), limit=10_000, validation=(100, 101))
    assert state.ending == (
        "nothing left to learn: the last 10 proposals needed no rollout "
        "(every score on the minibatch is perfect)"
    )
    assert (state.spent, state.is_broken) == (
        Tally(rollouts=4, metric_calls=4, proposals=11),
        False,
    )


def test_feedback_on_components_is_no_rollout():
    """Proposals that ask the metric for more words and try nothing new end the run as well, where
    metric calls are not limited."""

    def asking(request):
        if isinstance(request, RolloutRequest):
            return Task()(request)
        if isinstance(request, RemarkRequest):
            return RemarkAnswer(request.key, Remark("more words"))
        return ReflectionAnswer(request.ticket, dict(request.candidate), lm_calls=1)

    names = tuple(STUDENT)
    settings = Settings(limits=Limits(rollouts=100), feedback_calls=1, asked_about=names, **PAIR)
    begun, patience = start(settings, STUDENT), 10
    enough = [lambda state: "endless" if len(state.history) > 10 * patience else ""]
    state = run_loop(begun, SerialExecutor(asking), stoppers=enough).state
    assert state.ending == (
        f"nothing left to learn: the last {patience} proposals needed no rollout "
        "(the texts are unchanged)"
    )


def broken_on(examples):
    """A worker whose program fails on these examples."""

    def worker(request):
        answer = Task()(request)
        if isinstance(answer, RolloutAnswer) and answer.key.example in examples:
            broken = Rollout(0.0, failure=f"KeyError: {answer.key.example}", is_broken=True)
            return replace(answer, rollout=broken)
        return answer

    return worker


@pytest.mark.parametrize(("validation", "broken"), [((10, 11), 2), (tuple(range(10, 30)), 10)])
def test_a_program_that_fails_on_all_examples_ends_the_run(validation, broken):
    """On each of the first ten validation examples, or on all where there are fewer; the run says
    what was said about the first, and the examples after them are not run."""
    state = play(broken_on(range(100)), validation=validation)
    assert (state.ending, state.is_broken) == (
        f"it failed on each of the first {broken} examples; on the first one: KeyError: 10",
        True,
    )
    assert [key.example for key in state.known if key.example >= 10] == list(validation[:broken])


def test_a_program_that_fails_on_some_examples_is_scored():
    """One of the first ten that is not broken, and failures are scores like others."""
    state = play(broken_on(range(11, 30)), limit=60, validation=tuple(range(10, 30)))
    assert not state.is_broken
    assert state.members[0].scores.tolist() == [0.5] + [0.0] * 19


def test_a_text_that_mends_a_program_that_failed_is_a_result():
    """Where a child of the seed does not fail, it was a text that was at fault."""

    def worker(request):
        answer = Task(by_length)(request)
        if isinstance(answer, RolloutAnswer) and request.candidate == STUDENT:
            return replace(answer, rollout=replace(answer.rollout, score=0.0, is_broken=True))
        return answer

    state = play(worker, limit=20)
    assert (len(state.members) > 1, state.is_broken) == (True, False)


def test_patience_is_two_epochs_of_a_large_train_set():
    """The run does not give up before it has seen every example, and then all of them again."""
    large = {"limit": 500, "train": tuple(range(60)), "validation": (100, 101)}
    failing = Task(lambda c, example: by_length(c, 0) if example >= 59 else 1.0)
    assert len(play(failing, **large).members) > 1
    assert len(play(Task(perfect_train), **large).history) == 1 + 30 + 2 * 30


@pytest.mark.parametrize("window", [1, 4])
def test_a_perfect_member_ends_the_run(window):
    """Nothing can be told from a member that is perfect on all of validation; what is live when
    it is found is still finished."""
    task = Task(lambda candidate, _example: float(candidate["a"] == "a0+++"))
    assert play(task, limit=500, gate=lambda *_: True, window=window).ending == (
        "a candidate has a perfect score on every validation example"
    )


@pytest.mark.parametrize("change", [{"skip_perfect_score": False}, {"perfect_score": 2.0}])
def test_what_counts_as_perfect_is_a_setting(change):
    """A score of 1 ends nothing where it is not the highest there is, or is to be learned from."""
    ever_new = Task(lambda *_: 1.0, lambda ticket, *_: f"text {ticket}")
    state = play(ever_new, limit=60, **change)
    assert state.ending.startswith("the budget is used up")


def test_a_score_above_perfect_is_not_perfect():
    """Scores above the perfect one say that it is not the highest there is."""
    state = play(Task(lambda *_: 1.5), limit=60)
    assert state.ending.startswith("nothing left to learn")


@pytest.mark.parametrize(
    ("says_both", "kind", "reason"),
    [(1.0, "accepted", "validated"), (0.5, "rejected", "no better on 2 examples: 1 against 1")],
)
def test_a_merge_with_a_text_of_its_own_has_to_be_better(says_both, kind, reason):
    """What is longer than both parents is paid for with every call: as good is not enough."""
    strengths = {"one": (1.0, 0.0), "other": (0.0, 1.0), "one other": (says_both, says_both)}

    def score(candidate, example):
        if example < 10:
            return float(candidate["a"] != "a0") / 2
        return strengths.get(candidate["a"], (0.0, 0.0))[example - 10]

    task = Task(score, lambda ticket, *_: {1: "one", 2: "other"}.get(ticket), lambda *_: "a")
    state = play(
        task,
        use_merge=True,
        selection=lambda *_: 0,
        text_merge=lambda component, origin, better, other: " ".join(
            sorted((better, other), key=len)
        ),
    )
    (merge,) = [each for each in state.history if isinstance(each.origin, Merge)]
    assert dict(merge.candidate)["a"] == "one other"
    assert merge.verdict == Verdict(kind, reason)


def test_failing_reflections_end_the_run():
    """So many reflections in a row without a text, and the run ends with the last problem."""
    state = play(Task(rewrite=lambda *_: None), limit=10_000, max_failures_in_a_row=3)
    assert state.ending == "3 reflections in a row failed; the last: no text in the reply"
    assert len(state.history) == 1 + 3
    assert state.is_broken


@pytest.mark.parametrize("window", [1, 3])
def test_failing_reflections_end_the_run_whatever_is_measured_in_between(window):
    """Members that are validated further between them do not start the count anew."""
    schedule = ValidationSchedule(
        seed_examples=2, first=1, step=1, share=0.9, pace=50, head_start=0
    )
    state = play(
        Task(rewrite=lambda *_: None),
        limit=10_000,
        train=tuple(range(40)),
        validation=tuple(range(100, 400)),
        validation_schedule=schedule,
        window=window,
    )
    measured = [each for each in state.history if each.verdict.kind == "measured"]
    assert len(measured) > 5
    assert "reflections in a row failed" in state.ending
    assert state.tally.reflection_calls <= 10 + window - 1


def test_texts_that_have_become_hard_to_improve_are_no_breakdown():
    """Where a reflection gave a text before, many that give none end the run as a result."""
    task = Task(by_length, lambda ticket, c, name: c[name] + "+" if ticket < 3 else None)
    state = play(task, limit=10_000)
    assert len(state.members) > 1
    assert "no text in the reply" in state.ending
    assert not state.is_broken


def test_failures_that_are_not_in_a_row_do_not():
    """A reflection that gives a text starts the count anew."""
    task = Task(by_length, lambda ticket, c, name: c[name] + "+" if ticket % 3 == 0 else None)
    state = play(task, limit=100, max_failures_in_a_row=3)
    assert state.ending.startswith("the budget is used up")


def two_sided(candidate, example):
    """Even examples reward changes of the first component, odd ones of the second."""
    return len(candidate["ab"[example % 2]]) / 100


MERGING = {
    "validation": (10, 11),
    "train": (0, 1),
    "sampler": EpochSampler(2),
    "use_merge": True,
    # The seed twice, so that there are siblings; then whatever is newest.
    "selection": lambda view, _random: 0 if len(view.scores) < 3 else len(view.scores) - 1,
}


def test_siblings_are_merged_after_an_accepted_mutation():
    """When a second sibling is accepted, the next ticket merges the two."""
    state = play(Task(two_sided), limit=40, **MERGING)
    merge = state.history[3]
    assert merge.origin == Merge(Tally(rollouts=2, metric_calls=2, proposals=1), (1, 2), 0, 3)
    assert (dict(merge.candidate), merge.verdict.kind) == ({"a": "a0+", "b": "b0+"}, "accepted")
    assert state.members[3].parents == (1, 2)
    assert state.members[3].rewrites_before == max(
        state.members[1].rewrites_before, state.members[2].rewrites_before
    )
    # An accepted merge is not followed by another: mutations come in between.
    assert isinstance(state.history[4].origin, Mutation)


@pytest.mark.parametrize("off", [{"use_merge": False}, {"max_merge_invocations": 0}])
def test_merges_can_be_switched_off(off):
    """Without merges, or with none left, only mutations are proposed."""
    state = play(Task(two_sided), limit=60, **(MERGING | off))
    assert not [s for s in state.history if isinstance(s.origin, Merge)]


def test_a_merge_that_is_worse_is_rejected():
    """A merge must reach its better parent on the examples that they are compared on."""
    task = Task(lambda c, e: -1.0 if c["a"] != "a0" and c["b"] != "b0" else two_sided(c, e))
    state = play(task, limit=60, **MERGING)
    merge = state.history[3]
    assert isinstance(merge.origin, Merge)
    assert merge.verdict == Verdict("rejected", "no better on 2 examples: -2 against 0.05")


def test_a_merge_that_is_as_good_is_accepted():
    """A merge need not beat its better parent."""
    task = Task(lambda candidate, example: min(0.03, two_sided(candidate, example)))
    state = play(task, limit=60, merge_examples=1, **MERGING)
    assert [s.verdict.kind for s in state.history if isinstance(s.origin, Merge)] == ["accepted"]


def test_a_frozen_component_is_never_rewritten():
    """Whatever the selector names, and however often it was called."""
    state = play(Task(by_length), limit=60, frozen=("a",))
    assert len(state.members) > 1
    assert {member.candidate["a"] for member in state.members} == {"a0"}


def test_a_child_that_fails_what_must_keep_passing_is_rejected():
    """It passes the gate, and is left out before a validation example is paid."""

    def score(candidate, example):
        return (
            1.0 - (example == 9 and candidate["a"] != "a0")
            if example > 4
            else by_length(candidate, example)
        )

    state = play(Task(score), limit=60, anchors=(9, 8), frozen=("b",))
    assert [member.candidate["a"] for member in state.members] == ["a0"]
    reason = "worse than the seed on 1 of the examples that must keep passing"
    assert Verdict("rejected", reason) in verdicts(state)


def test_what_the_seed_never_passed_need_not_keep_passing():
    """Anchors hold a child to the seed's own scores, and to no more."""
    state = play(
        Task(lambda candidate, example: by_length(candidate, example % 5)), limit=60, anchors=(9,)
    )
    assert len(state.members) > 1

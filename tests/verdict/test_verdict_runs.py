"""The verdict on held-out examples: held in the budget, counted, kept, and what is returned."""

import dspy
import label_task
import pytest
from label_task import TRAIN, VALIDATION, Counting, interrupt
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, load_run
from dspy_gepa.errors import JournalCorrupt, SettingsError

HELDOUT = label_task.examples(40)[20:]


def copied(example, **changes):
    """With its inputs, which DSPy's own copies lost before 3.4."""
    return example.copy(**changes).with_inputs("message")


def compiled(metric, lm=None, *, heldout=HELDOUT, sets=(TRAIN, VALIDATION), **settings):
    """The program and the result."""
    named = {name: settings.pop(name) for name in ("if_no_evidence",) if name in settings}
    lm = lm or label_task.reflection_lm()
    given = {"max_metric_calls": 120, "reflection_lm": lm, "num_threads": 1, **settings}
    optimizer = GEPA(metric, observers=[metric.observe], **given)
    with dspy.context(lm=label_task.task_lm()):
        program = optimizer.compile(
            dspy.Predict("message -> code"), *sets, heldout=heldout, **named
        )
    return program, optimizer.result


def text_of(program):
    return program.signature.instructions


def test_a_program_that_is_better_is_said_to_be():
    """In numbers and in one sentence, from as many calls as were held for it."""
    metric = Counting()
    program, result = compiled(metric)
    verdict = result.verdict
    assert (verdict.kind, verdict.n, verdict.returned) == ("better", 20, "best")
    assert (verdict.seed_score, verdict.best_score, verdict.difference) == (0.0, 1.0, 1.0)
    assert 0 < verdict.low < verdict.difference <= verdict.high
    assert verdict.method == "Newcombe"
    assert str(verdict).startswith("better: 0 before and 1 after on 20 held-out examples")
    assert text_of(program) == result.members[result.best].candidate["self"]
    assert metric.calls - metric.searched == 40 == verdict.evaluations
    assert metric.calls == result.tally.metric_calls <= 120


@pytest.mark.parametrize("limit", ["max_metric_calls", "max_rollouts"])
@pytest.mark.parametrize("budget", [46, 61, 90])
def test_the_limit_holds_for_search_and_verdict(limit, budget):
    """However much of it the search would use."""
    ideas = iter(range(10**6))
    lm = scripted_lm(lambda _prompt: f"<new_text>Idea {next(ideas)}.</new_text>")
    metric = Counting()
    given = {"max_metric_calls": 1000, limit: budget}
    _, result = compiled(metric, lm, **given)
    assert metric.calls == result.tally.metric_calls <= budget
    assert metric.searched <= budget - 40


def test_a_program_that_stays_as_it_was_costs_nothing():
    """Nothing is run on the held-out examples, and the sentence says why."""
    metric = Counting()
    _, result = compiled(metric, label_task.saying("No better."))
    assert result.verdict.kind == "no evidence of improvement"
    assert "as it was given" in str(result.verdict)
    assert metric.calls == metric.searched == result.tally.metric_calls
    assert not result.improved


@pytest.mark.parametrize("auto", [None, "light"])
def test_the_plan_shows_what_is_held(auto):
    """A budget by size is that of the search, and the verdict's calls come on top."""
    with dspy.context(lm=label_task.task_lm()):
        program = dspy.Predict("message -> code")
        optimizer = GEPA(Counting(), auto=auto, reflection_lm=label_task.reflection_lm())
        without = optimizer.plan(program, TRAIN, VALIDATION)
        plan = optimizer.plan(program, TRAIN, VALIDATION, heldout=HELDOUT)
    assert plan.verdict == 40
    assert plan.forecast.settings.limits == without.forecast.settings.limits
    assert "held-out examples      20, for the verdict 40 metric calls more" in str(plan)


def test_what_is_better_on_few_by_chance_is_no_evidence():
    """The best is returned, or the seed where that is asked for; `improved` follows."""
    # A text that is right on two of twenty says little.
    lm = label_task.saying("Say unknown. bill means Q7.")
    held = [copied(label_task.examples(1)[0], message=f"the bill {n}") for n in range(2)]
    held += [
        dspy.Example(message=f"the lock {n}", code="unknown").with_inputs("message")
        for n in range(18)
    ]
    for choice, is_improved in (("best", True), ("seed", False)):
        program, result = compiled(Counting(), lm, heldout=held, if_no_evidence=choice)
        assert result.verdict.kind == "no evidence of improvement"
        assert (result.verdict.gained, result.verdict.lost) == (2, 0)
        assert (result.verdict.returned, result.improved) == (choice, is_improved)
        assert ("bill means" in text_of(program)) == is_improved
        assert result.best == 1
    assert "The program is returned as it was given." in str(result.verdict)


def test_what_is_worse_is_not_returned():
    """The seed is, and the best stays among the members."""
    lm = label_task.saying("bill means Q7. lock means K2. ship means Z9. leak means M4.")
    held = [copied(each, code="unknown") for each in HELDOUT]
    program, result = compiled(Counting(), lm, heldout=held)
    assert (result.verdict.kind, result.verdict.returned) == ("worse", "seed")
    assert text_of(program) == result.members[0].candidate["self"]
    assert (result.best, result.returned, result.improved) == (1, 0, False)


def test_without_held_out_examples_it_says_so():
    """Nobody takes the search's own scores for a check."""
    _, result = compiled(Counting(), heldout=None)
    assert result.verdict.kind == "not checked"
    assert "Give heldout=" in str(result.verdict)


@pytest.mark.parametrize("sets", [(TRAIN, VALIDATION), (TRAIN, None)])
def test_a_share_is_put_aside_before_the_search(sets):
    """Of the validation set, or of the training set where that serves for both."""
    seen = []

    class Seeing(Counting):
        def __call__(self, gold, pred, trace=None):
            seen.append(gold.message)
            return super().__call__(gold, pred, trace)

    metric = Seeing()
    _, result = compiled(metric, heldout=0.25, sets=sets)
    chosen_by = sets[1] or sets[0]
    count = len(chosen_by) // 4
    assert result.verdict.n == count
    assert len(result.state.settings.validation) == len(chosen_by) - count
    assert not {*seen[: metric.searched]} & {*seen[metric.searched :]}
    assert len(seen) == result.tally.metric_calls


def test_the_same_call_pays_once(tmp_path):
    """The verdict and what it cost are those of the first call, and can be read from the folder."""
    first, second = Counting(), Counting()
    program, result = compiled(first, log_dir=tmp_path)
    again, result_again = compiled(second, log_dir=tmp_path)
    assert (text_of(program), second.calls) == (text_of(again), 0)
    assert result_again.tally == result.tally
    assert result_again.verdict.evaluations == 0
    assert load_run(tmp_path).result.verdict == result_again.verdict
    assert str(result_again.verdict) == str(result.verdict)


def test_a_finished_run_can_be_checked_later(tmp_path):
    """Held-out examples are no part of what a run is; only they are paid for."""
    first, second = Counting(), Counting()
    compiled(first, log_dir=tmp_path, heldout=None, max_metric_calls=80)
    _, result = compiled(second, log_dir=tmp_path)
    assert result.verdict.kind == "better"
    assert second.calls == 40
    assert first.calls + second.calls == result.tally.metric_calls


def test_ctrl_c_at_any_call_of_it_loses_nothing(tmp_path):
    """The best is returned unchecked, what was paid is kept, and the same call goes on."""
    whole, paid = Counting(), 0
    compiled(whole)
    for moment in range(whole.searched + 1, whole.calls, 7):
        metric = Counting(moment - paid, interrupt)
        program, result = compiled(metric, log_dir=tmp_path)
        assert result.verdict.kind == "not checked"
        assert "keyboard" in result.verdict.reason
        assert "means" in text_of(program)
        paid += metric.calls
        assert paid == moment == result.tally.metric_calls
    metric = Counting()
    _, result = compiled(metric, log_dir=tmp_path)
    assert result.verdict.kind == "better"
    assert paid + metric.calls == result.tally.metric_calls == whole.calls


def test_ctrl_c_in_the_search_leaves_it_unchecked():
    """Nothing more is begun; who wants evidence gets the program as it was."""
    metric = Counting(30, interrupt)
    program, result = compiled(metric, if_no_evidence="seed")
    assert (metric.calls, result.verdict.kind) == (30, "not checked")
    assert "interrupted" in result.verdict.reason
    assert (result.returned, text_of(program)) == (0, result.members[0].candidate["self"])


def test_a_stop_callback_ends_the_search_and_not_the_verdict():
    """It says that enough was searched, not that nothing is to be checked."""
    stop = {"stop_callbacks": [lambda state: len(state.program_candidates) > 1]}
    metric = Counting()
    _, result = compiled(metric, gepa_kwargs=stop)
    assert "stop callback" in result.stop_reason
    assert result.verdict.kind == "better"


def test_a_program_that_crashes_on_them_has_that_for_a_score():
    """A failure is a score, and the sentence counts it."""

    class Fragile(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("message -> code")

        def forward(self, message):
            answer = self.answer(message=message)
            if "held" in message and answer.code != "unknown":
                raise ValueError("no such code")
            return answer

    held = [copied(each, message=f"held {each.message}", code="unknown") for each in HELDOUT]
    metric = Counting()
    optimizer = GEPA(metric, max_metric_calls=120, reflection_lm=label_task.reflection_lm())
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(Fragile(), TRAIN, VALIDATION, heldout=held)
    verdict = optimizer.result.verdict
    assert (verdict.kind, verdict.best_failures, verdict.returned) == ("worse", 20, "seed")
    assert "20 failures" in str(verdict)


@pytest.mark.parametrize(
    ("heldout", "words"),
    [
        ([TRAIN[3], HELDOUT[0], VALIDATION[1]], ["heldout[0] is trainset[3]", "heldout[2] is val"]),
        ([copied(TRAIN[3])], ["1 held-out examples", "trainset[3]"]),
        ([], ["heldout is empty"]),
        (0.0, ["a share between 0 and 1"]),
        (1, ["a share between 0 and 1"]),
        (True, ["a share between 0 and 1"]),
        (float("nan"), ["a share between 0 and 1"]),
        ("0.2", ["a list of dspy.Example is needed"]),
        ([{"message": "m", "code": "c"}], ["heldout[0] is a dict"]),
        (HELDOUT * 4 + label_task.examples(200)[40:], ["leaves nothing for the search"]),
    ],
)
def test_what_cannot_be_held_out_is_refused(heldout, words):
    """With the numbers of what is at fault, before anything is spent."""
    metric = Counting()
    with pytest.raises(SettingsError) as info:
        compiled(metric, heldout=heldout)
    assert all(word in str(info.value) for word in words), info.value
    assert metric.calls == 0


def test_must_pass_examples_are_seen_by_the_search():
    """They decide who becomes a member, so they cannot be held out."""
    with pytest.raises(SettingsError, match=r"heldout\[1\] is must_pass\[0\]"):
        compiled(Counting(), heldout=HELDOUT[:2], must_pass=[HELDOUT[1]])


def test_copies_among_them_count_once():
    """The same example twice is no more evidence."""
    metric = Counting()
    _, result = compiled(metric, heldout=[*HELDOUT, *(copied(each) for each in HELDOUT)])
    assert result.verdict.n == 20


def test_if_no_evidence_needs_examples():
    """Otherwise the seed would always be returned."""
    with pytest.raises(SettingsError, match="needs held-out examples"):
        compiled(Counting(), heldout=None, if_no_evidence="seed")
    with pytest.raises(SettingsError, match="if_no_evidence"):
        compiled(Counting(), if_no_evidence="parent")


def test_a_share_of_which_nothing_is_free_is_refused():
    """All validation examples are training examples as well."""
    with pytest.raises(SettingsError, match="none can"):
        compiled(Counting(), heldout=0.5, sets=(TRAIN, TRAIN[:6]))


def test_tokens_and_seconds_are_held_as_a_share(tmp_path):
    """What a rollout costs in them is not known before: the search leaves the verdict's share."""
    with dspy.context(lm=label_task.task_lm()):
        program = dspy.Predict("message -> code")
        given = {"max_total_tokens": 1200, "max_seconds": 60.0, "max_metric_calls": 80}
        optimizer = GEPA(Counting(), reflection_lm=label_task.reflection_lm(), **given)
        limits = optimizer.plan(program, TRAIN, VALIDATION, HELDOUT).forecast.settings.limits
    assert (limits.total_tokens, limits.seconds, limits.metric_calls) == (600, 30.0, 40)


def test_a_damaged_file_is_named(tmp_path):
    """What is to be done is said."""
    compiled(Counting(), log_dir=tmp_path)
    (tmp_path / "further_rollouts.json").write_text('{"rollouts": 3}')
    with pytest.raises(JournalCorrupt, match=r"further_rollouts\.json.*Remove it"):
        compiled(Counting(), log_dir=tmp_path)
    (tmp_path / "verdict.json").write_text('{"kind": "better", "luck": 1}')
    with pytest.raises(JournalCorrupt, match=r"verdict\.json"):
        load_run(tmp_path)

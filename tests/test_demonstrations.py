"""Demonstrations after the search: within every limit, stopped with it, and never paid twice."""

import json
import os
from types import SimpleNamespace

import dspy
import label_task
import pytest
from label_task import interrupt
from scripted_engine import answer, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.compilation import demonstrations
from dspy_gepa.errors import JournalCorrupt, JournalError
from dspy_gepa.program import demos
from dspy_gepa.run import loop

TRAIN, VALIDATION = label_task.examples(12), label_task.examples(8)
THOROUGH = os.environ.get("DSPY_GEPA_TESTS") == "thorough"
KEYBOARD = "interrupted from the keyboard"


def shown_lm():
    """A model that is right where a demonstration or the instruction shows the code."""

    def reply(prompt):
        before, _, message = prompt.rpartition("[[ ## message ## ]]")
        topic = next(topic for topic in label_task.CODES if topic in message)
        code = label_task.CODES[topic]
        return answer(code=code if code in before else "unknown")

    return scripted_lm(reply)


class Counting(label_task.Counting):
    """One that gives nothing away, so that demonstrations have something to bring."""

    def words(self, gold):
        return "It is another code."


def compiled(metric, **settings):
    """The program and the result; the search itself finds nothing, and demonstrations help."""
    silent = scripted_lm("<new_text>Answer with a code.</new_text>")
    given = {"max_metric_calls": 100, "max_bootstrapped_demos": 4, "max_labeled_demos": 8}
    given |= {"reflection_lm": silent, "num_threads": 1, "observers": [metric.observe], **settings}
    optimizer = GEPA(metric, **given)
    with dspy.context(lm=shown_lm()):
        program = optimizer.compile(dspy.Predict("message -> code"), TRAIN, VALIDATION)
    return program, optimizer.result


@pytest.mark.parametrize("auto", [None, "light"])
def test_a_budget_by_size_holds_for_both(auto):
    """What is set aside for demonstrations is taken from it, and `plan` says so."""
    ideas = iter(range(10**6))
    lm = scripted_lm(lambda _prompt: f"<new_text>Idea {next(ideas)}.</new_text>")
    calls = 0

    def metric(gold, pred, trace=None):
        nonlocal calls
        calls += 1
        return float(calls % 3)

    def optimizer(**demos):
        return GEPA(metric, auto=auto, reflection_lm=lm, perfect_score=10.0, **demos)

    with dspy.context(lm=label_task.task_lm()):
        program = dspy.Predict("message -> code")
        most = optimizer().plan(program, TRAIN, VALIDATION).forecast.settings.limits.metric_calls
        given = optimizer(max_bootstrapped_demos=4, max_labeled_demos=4)
        plan = given.plan(program, TRAIN, VALIDATION)
        assert plan.demos == len(TRAIN) + len(VALIDATION)
        assert plan.forecast.settings.limits.metric_calls == most - plan.demos
        assert f"demonstrations         up to {plan.demos} metric calls more" in str(plan)
        given.compile(program, TRAIN, VALIDATION)
    assert most - 30 < calls == given.result.tally.metric_calls <= most


def test_the_same_call_pays_for_them_once(tmp_path):
    """The program, its score and what it cost are those of the first call."""
    first, second = Counting(), Counting()
    program, result = compiled(first, log_dir=str(tmp_path))
    again, result_again = compiled(second, log_dir=str(tmp_path))
    assert program.demos
    assert program._compiled is False
    assert again.demos == program.demos
    assert again.score == program.score == 100.0
    assert (first.calls, second.calls) == (result.tally.metric_calls, 0)
    assert result_again.tally == result.tally
    assert json.loads((tmp_path / "best_program.json").read_text())["demos"]


def test_those_that_do_not_help_are_not_tried_again(tmp_path):
    """Also where none were found."""
    calls = []
    for _ in range(2):
        metric = Counting()
        settings = {"max_labeled_demos": 0, "max_bootstrapped_demos": 2}
        program, result = compiled(metric, log_dir=str(tmp_path), **settings)
        assert program.demos == []
        calls.append(metric.calls)
    assert calls == [result.tally.metric_calls, 0]


def test_others_are_another_matter(tmp_path):
    """Who asks for more of them, or by another teacher, has them made; all of it counts."""
    first, second = Counting(), Counting()
    compiled(first, log_dir=str(tmp_path))
    program, result = compiled(second, log_dir=str(tmp_path), max_labeled_demos=10)
    assert len(program.demos) == 10
    assert result.tally.metric_calls == first.calls + second.calls <= 100


def test_what_was_interrupted_is_made_anew_within_the_budget(tmp_path):
    """Ctrl-C at any call for demonstrations: none are used, what they cost stays on the account."""
    whole = Counting()
    compiled(whole)
    moments = range(whole.searched + 1, whole.calls + 1)
    for moment in moments if THOROUGH else (*moments[:2], *moments[-2:]):
        metrics = [Counting(moment, interrupt), Counting()]
        log_dir = str(tmp_path / str(moment))
        program, _ = compiled(metrics[0], log_dir=log_dir)
        assert (program.demos, metrics[0].calls) == ([], moment)
        program, result = compiled(metrics[1], log_dir=log_dir)
        assert program.demos
        assert moment + metrics[1].calls == result.tally.metric_calls <= 100


def test_no_more_is_begun_than_is_left(tmp_path):
    """Interrupted again and again, they are given up when the rest of the budget is too small."""
    whole = Counting()
    compiled(whole)
    calls = []
    for attempt in range(9):
        metric = Counting(3 if attempt else whole.searched + 3, interrupt)
        _, result = compiled(metric, log_dir=str(tmp_path), max_metric_calls=56)
        calls.append(metric.calls)
    assert calls[1] == 3
    assert calls[-1] == 0
    assert sum(calls) == result.tally.metric_calls <= 56


@pytest.mark.parametrize(
    "settings",
    [
        {"gepa_kwargs": {"stop_callbacks": [lambda state: state.i >= 1]}},
        {"max_seconds": 15.0},
    ],
    ids=["stop callback", "seconds"],
)
def test_a_search_that_was_stopped_is_not_followed_by_them(settings, monkeypatch):
    """Nothing is begun any more."""
    metric = Counting()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(metric.calls)))
    program, result = compiled(metric, **settings)
    assert (program.demos, metric.calls) == ([], metric.searched)
    assert "stop callback" in result.stop_reason or "seconds" in result.stop_reason


def test_ctrl_c_in_the_search_ends_it_all():
    """Just the calls that were made until then."""
    metric = Counting(9, interrupt)
    program, result = compiled(metric)
    assert (program.demos, metric.calls, result.stop_reason) == ([], 9, KEYBOARD)


@pytest.mark.parametrize("more", [1, 3, 7])
def test_the_seconds_hold_for_both(more, monkeypatch):
    """Bootstrapping and validation begin nothing after them."""
    whole = Counting()
    compiled(whole)
    metric = Counting()
    clock = SimpleNamespace(monotonic=lambda: float(metric.calls))
    for module in (loop, demos, demonstrations):
        monkeypatch.setattr(module, "time", clock)
    program, _ = compiled(metric, max_seconds=float(whole.searched + more))
    assert metric.searched == whole.searched
    assert (program.demos, metric.calls) == ([], whole.searched + more)


def test_the_run_directory_is_held_until_the_end(tmp_path):
    """Another run cannot write there while demonstrations are tried."""
    whole = Counting()
    compiled(whole)
    refused = []

    def another():
        with pytest.raises(JournalError, match="in use") as info:
            compiled(Counting(), log_dir=str(tmp_path))
        refused.append(info)

    compiled(Counting(whole.searched + 1, another), log_dir=str(tmp_path))
    assert len(refused) == 1


def test_a_damaged_file_is_named(tmp_path):
    """What is to be done is said."""
    compiled(Counting(), log_dir=str(tmp_path))
    (tmp_path / "demonstrations.json").write_text("{")
    with pytest.raises(JournalCorrupt, match=r"demonstrations\.json.*Remove it"):
        compiled(Counting(), log_dir=str(tmp_path))

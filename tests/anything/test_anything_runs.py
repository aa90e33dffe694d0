"""Whole runs of optimize_anything: its modes, budgets, failures, what is kept and carried on."""

import ast
import json
import logging
import os
import pickle
import shutil
import signal
import sys
import threading
from types import SimpleNamespace

import dspy
import pytest
from artifact_worlds import Counted, Meeting, climber, grower, repeater, texts_of, value_of
from test_anything_isolation import timed_by

from dspy_gepa import Feedback, log, optimize_anything
from dspy_gepa.errors import (
    JournalMismatch,
    MetricError,
    ReflectionError,
    SettingsError,
    WorkerError,
)

TARGETS = [3, 9, 12, 20]
THOROUGH = os.environ.get("DSPY_GEPA_TESTS") == "thorough"


def distance(artifact, target):
    return -abs(value_of(artifact) - target)


def run(evaluate, artifact="value: 0", **given):
    given = {"reflection_lm": climber(), **given}
    return optimize_anything(artifact, evaluate, **given)


# Modes


def test_a_single_task_is_climbed():
    """Without a dataset the evaluator gets the artifact alone; the best text comes back."""
    result = run(value_of, max_evals=12)
    assert (result.optimized_artifact, result.score) == ("value: 11", 11.0)
    assert result.improved
    assert result.best_by_problem == ((("value: 11"), 11.0),)
    assert (len(result.members), len(result.proposals)) == (12, 11)
    assert result.tally.metric_calls == 12


def test_a_single_task_tells_of_every_attempt_on_the_text():
    """Where no change is better, the model sees all that were tried, and what came of each."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return f"```\nvalue: {-50 * len(prompts)}\n```"

    run(value_of, reflection_lm=model, max_evals=12, candidate_selection_strategy="current_best")
    tried = [f"value: {-50 * n}\n" for n in range(1, len(prompts))]
    assert len(tried) == 10
    assert [text for text in tried if text not in prompts[-1]] == []


def test_several_problems_each_get_their_best():
    """The best artifact of each problem is told, also one that was rejected as a whole."""
    result = run(distance, dataset=TARGETS, max_evals=100, seed=1)
    found = dict(zip(TARGETS, result.best_by_problem, strict=True))
    assert {target: best.artifact for target, best in found.items()} == {
        target: f"value: {target}" for target in TARGETS
    }
    pool = {each.candidate["artifact"] for each in result.members}
    assert any(best.artifact not in pool for best in found.values())


def test_what_was_rejected_on_one_problem_is_tried_on_another():
    """A text that is worse on the problem that a proposal looked at may be the best of the next."""
    told = []
    for seed in range(4):
        evaluate = Counted(distance)
        result = run(
            evaluate,
            dataset=[0, 9],
            reflection_lm=lambda _prompt: "```\nvalue: 9\n```",
            reflection_minibatch_size=1,
            max_proposals=4,
            seed=seed,
        )
        told.append([each.verdict.kind for each in result.proposals])
        assert "accepted" in told[-1]
        assert [best.score for best in result.best_by_problem] == [0, 0]
        assert len(set(evaluate.calls)) == len(evaluate.calls)
    assert "rejected" in {kinds[0] for kinds in told}


def test_generalization_learns_from_one_set_and_chooses_by_another():
    """No reflection is shown a validation example."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return climber()(prompt)

    def evaluate(artifact, example):
        return distance(artifact, example["target"]), f"from {example['name']}"

    dataset = [{"name": f"train{n}", "target": n} for n in (4, 5, 6)]
    valset = [{"name": f"secret{n}", "target": n} for n in (5, 6)]
    result = run(evaluate, dataset=dataset, valset=valset, reflection_lm=model, max_evals=60)
    assert value_of(result.optimized_artifact) in (5, 6)
    assert any("train" in prompt for prompt in prompts)
    assert not any("secret" in prompt for prompt in prompts)
    assert len(result.best_by_problem) == 2


def test_an_artifact_of_several_texts_keeps_its_order():
    """Names and their order come back as they were given."""

    def evaluate(texts):
        assert list(texts) == ["second", "first"]
        return sum(map(value_of, texts.values()))

    artifact = {"second": "value: 0", "first": "value: 0"}
    result = run(evaluate, artifact, max_evals=8, reflection_lm=grower)
    assert list(result.optimized_artifact) == ["second", "first"]
    assert result.score > 0
    assert artifact == {"second": "value: 0", "first": "value: 0"}


def test_a_test_set_tells_whether_it_got_better():
    """The first artifact and the best one on it, apart from the budget."""
    evaluate = Counted(distance)
    valset, testset = [8, 9], [7, 8, 9, 10, 11]
    result = run(evaluate, dataset=[8], valset=valset, testset=testset, max_evals=40)
    assert result.tally.metric_calls <= 40
    assert len(evaluate.calls) == result.tally.metric_calls + result.test.evaluations
    assert result.test.evaluations == 10
    assert result.test.seed_score == -9.0
    assert result.test.shows_improvement
    assert "difference +" in str(result.test)


def test_the_first_artifact_is_written_where_there_is_none(tmp_path):
    """From objective and background; counted, kept and carried on like any reflection."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return "```\nvalue: 5\n```" if len(prompts) == 1 else climber()(prompt)

    given = {"objective": "Make it large.", "background": "Numbers have values."}
    evaluate = Counted(value_of)
    result = run(evaluate, None, **given, reflection_lm=model, max_evals=4, log_dir=str(tmp_path))
    assert "Make it large." in prompts[0]
    assert "Numbers have values." in prompts[0]
    assert [text for text, _ in evaluate.calls] == [f"value: {n}" for n in (5, 6, 7, 8)]
    assert result.tally.reflection_calls == len(prompts) == 4
    assert (result.members[0].candidate["artifact"], result.score) == ("value: 5", 8)
    more = run(evaluate, None, **given, reflection_lm=model, max_evals=6, log_dir=str(tmp_path))
    assert (len(evaluate.calls), len(prompts), more.score) == (6, 6, 10)


def test_a_first_artifact_that_cannot_be_read_is_asked_for_again():
    """And where that brings none either, it is an error and no evaluation is paid."""
    replies = ["I cannot do that.", "```\nvalue: 3\n```"]
    asked = []

    def model(prompt):
        asked.append(prompt)
        return replies[min(len(asked), len(replies)) - 1] if len(asked) < 3 else climber()(prompt)

    assert run(value_of, None, objective="Grow.", reflection_lm=model, max_evals=3).score == 5
    evaluate = Counted(value_of)
    with pytest.raises(ReflectionError, match="No first artifact"):
        run(evaluate, None, objective="Grow.", reflection_lm=lambda _: "No.", max_evals=3)
    assert evaluate.calls == []


def test_the_first_artifact_of_a_dataset_is_shown_examples_to_learn_from():
    """The first three of them, and none of the validation set."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return "```\nvalue: 5\n```" if len(prompts) == 1 else climber()(prompt)

    run(
        lambda artifact, example: -abs(value_of(artifact) - example["target"]),
        None,
        objective="Be near.",
        dataset=[{"target": 10 + n} for n in range(5)],
        valset=[{"target": 90}],
        reflection_lm=model,
        max_evals=12,
    )
    shown = [f'"target": {10 + n}' in prompts[0] for n in range(5)]
    assert shown == [True, True, True, False, False]
    assert not any('"target": 90' in prompt for prompt in prompts)


# Budgets and determinism


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("limit", [3, 10, 25])
@pytest.mark.parametrize("window", [1, 4])
def test_limit_ledger_and_evaluator_agree(limit, threads, window):
    """Never more calls than asked for, all of them counted, and no text evaluated twice."""
    evaluate = Counted(distance)
    result = run(
        evaluate, dataset=list(range(8)), max_evals=limit, num_threads=threads, window=window
    )
    assert len(evaluate.calls) == result.tally.metric_calls <= limit
    assert len(set(evaluate.calls)) == len(evaluate.calls)


@pytest.mark.parametrize("isolation", [None, "process"])
def test_the_same_seed_gives_the_same_run(isolation):
    """At any number of threads, also in processes of their own."""

    def once(threads):
        result = run(
            distance,
            dataset=TARGETS,
            max_evals=30,
            window=3,
            num_threads=threads,
            isolation=isolation,
        )
        return texts_of(result)

    first = once(1)
    assert len(first) > 3
    assert all(once(threads) == first for threads in (4, 16))


def test_evaluations_run_at_once_where_that_is_asked_for():
    """A single task with a window has as many evaluations under way."""
    evaluate, names = Counted(value_of, Meeting(3)), iter(range(1, 1000))
    lock = threading.Lock()

    def model(prompt):
        with lock:
            return f"```\nvalue: {next(names)}\n```"

    run(evaluate, reflection_lm=model, max_evals=9, window=4, num_threads=4)
    assert evaluate.most_at_once >= 3


def test_without_any_limit_there_are_a_hundred_evaluations(caplog):
    """Which is said."""
    with caplog.at_level(logging.WARNING):
        result = run(value_of)
    assert result.tally.metric_calls == 100
    assert "100 evaluations" in caplog.text


def test_a_limit_in_proposals_is_enough():
    """Then there is none in evaluations."""
    assert len(run(value_of, max_proposals=5).proposals) == 5


# Failures


def test_a_failure_ranks_below_a_bad_score():
    """What does not even run is never the best, however negative the others' scores are."""

    def evaluate(artifact):
        if value_of(artifact) % 2:
            raise ValueError("odd")
        return -1e6 - value_of(artifact)

    result = run(evaluate, max_evals=6, repairs=0)
    assert (result.optimized_artifact, result.score) == ("value: 0", -1e6)
    reasons = {each.candidate["artifact"]: each.verdict.reason for each in result.proposals}
    assert reasons["value: 1"] == "no better on 1 examples: a failure against -1e+06"


def test_a_first_artifact_that_fails_can_be_mended():
    """The failure and its text are what the first reflection is shown."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return climber(2)(prompt)

    def evaluate(artifact):
        return 1 / value_of(artifact)

    result = run(evaluate, reflection_lm=model, max_evals=5)
    assert result.score == 0.5
    assert "ZeroDivisionError" in prompts[0]


def test_what_does_not_run_goes_back_within_its_proposal():
    """With its failure, once; what comes of it is the proposal's, and all of it is counted."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return climber()(prompt)

    def evaluate(artifact):
        if value_of(artifact) % 2:
            raise ValueError(f"{value_of(artifact)} is odd")
        return value_of(artifact)

    evaluate = Counted(evaluate)
    result = run(evaluate, reflection_lm=model, max_evals=9)
    assert [each.candidate["artifact"] for each in result.proposals] == [
        "value: 2", "value: 4", "value: 6", "value: 8",
    ]  # fmt: skip
    assert result.accepted == 4
    assert len(evaluate.calls) == result.tally.metric_calls == 9
    assert result.tally.reflection_calls == len(prompts) == 8
    assert "1 is odd" in prompts[1]
    assert "What was tried before" not in prompts[1]


def test_what_is_not_mended_is_rejected_with_its_failure():
    """After as many ways back as there are, and within the budget."""

    def evaluate(artifact):
        if value_of(artifact):
            raise ValueError("broken")
        return 0

    for repairs, calls in ((0, 2), (1, 3), (3, 5)):
        counted = Counted(evaluate)
        result = run(counted, max_proposals=1, repairs=repairs)
        assert len(counted.calls) == calls
        assert "a failure" in result.proposals[0].verdict.reason


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_way_back_is_taken_only_where_there_is_room_for_it(limit):
    """The budget is used to the last evaluation, and never exceeded."""

    def evaluate(artifact):
        if value_of(artifact) % 3 == 1:
            raise ValueError("broken")
        return value_of(artifact)

    counted = Counted(evaluate)
    result = run(counted, max_evals=limit)
    assert len(counted.calls) == result.tally.metric_calls == limit


def test_a_check_refuses_a_text_before_it_is_paid_for():
    """The model is told why and asked once more; False, a reason and an error all refuse."""

    def no_sevens(text):
        return "a seven is bad luck" if "7" in text else None

    def is_small(text):
        return value_of(text) < 12

    def compiles(text):
        compile(text, "artifact", "exec")

    asked = []

    def model(prompt):
        asked.append(prompt)
        said = ["value: 7", "value: 8", "value: 30", "value: 9", "value: (", "value: 10"]
        return f"```\n{said[len(asked) - 1]}\n```"

    evaluate = Counted(value_of)
    checks = [no_sevens, is_small, compiles]
    result = run(evaluate, reflection_lm=model, max_proposals=3, checks=checks)
    assert [text for text, _ in evaluate.calls] == ["value: 0", "value: 8", "value: 9", "value: 10"]
    assert "bad luck" in asked[1]
    assert "is_small" in asked[3]
    assert result.score == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_checks_run_where_evaluations_do(tmp_path):
    """What a text does when it is checked, it does to a process of its own: the run goes on."""
    home, begun = os.getpid(), tmp_path / "begun"
    begun.touch()

    def runs(text):
        assert os.getpid() != home
        sys.stdout.write("on line 1\n")
        exec(text, {})

    asked = []

    def model(prompt):
        asked.append(prompt)
        said = [
            "import os; os._exit(3)  # value: 1",
            f"import time; open({str(begun)!r}, 'a').write('.'); time.sleep(600)  # value: 2",
            "# value: 3",
        ]
        return f"```\n{said[len(asked) - 1]}\n```"

    evaluate = Counted(value_of)
    with timed_by(lambda: begun.stat().st_size):
        result = run(
            evaluate,
            artifact="# value: 0",
            reflection_lm=model,
            max_proposals=2,
            checks=[runs, lambda text: "value: 5" not in text],
            isolation="process",
            capture_stdio=True,
            timeout_seconds=0.1,
        )
    assert "ended itself with status 3" in asked[1]
    assert "on line 1" in asked[1]
    assert "longer than 0.1 seconds" in result.proposals[0].verdict.reason
    assert result.score == 3
    assert result.tally.metric_calls == 2


def test_where_nothing_ever_scores_the_run_ends_with_the_cause():
    """After a few artifacts, and long before the budget is gone."""

    def evaluate(artifact):
        raise KeyError("no such file")

    evaluate = Counted(evaluate)
    with pytest.raises(WorkerError, match="no such file"):
        run(evaluate, max_evals=100, repairs=0)
    assert len(evaluate.calls) == 6


def test_one_failure_in_many_evaluations_ends_nothing():
    """It is that example's failure; `failure_score` makes it a score."""

    def evaluate(artifact, example):
        if example == 9:
            raise OSError("flaky")
        return value_of(artifact)

    result = run(evaluate, dataset=list(range(40)), max_evals=90)
    assert result.tally.metric_calls <= 90
    assert result.best_by_problem[9] == (None, None)
    assert result.best_by_problem[8].score == value_of(result.optimized_artifact)
    scored = run(evaluate, dataset=list(range(40)), max_evals=90, failure_score=0.0)
    assert scored.score == pytest.approx(value_of(scored.optimized_artifact) * 39 / 40)


def test_a_score_that_is_none_ends_the_run_before_any_model_is_asked():
    """The first evaluation shows that the evaluator is wrong."""
    asked = []

    def model(prompt):
        asked.append(prompt)
        return "value: 1"

    for returned in (None, float("nan"), "0.5", {"grade": 1}):
        evaluate = Counted(lambda artifact, returned=returned: returned)
        with pytest.raises(MetricError, match="Return a finite"):
            run(evaluate, reflection_lm=model, max_evals=10)
        assert len(evaluate.calls) == 1
    assert asked == []


def test_a_score_that_is_none_later_is_a_failure():
    """The artifact may have brought it about."""

    def evaluate(artifact):
        return float("nan") if value_of(artifact) == 1 else -value_of(artifact)

    result = run(evaluate, max_evals=4, repairs=0)
    assert result.score == 0
    assert result.proposals[0].verdict.kind == "rejected"


def test_exits_and_hangs_are_failures_in_this_process_too(hangs):
    """A thread that hangs is left behind, which is said."""

    def evaluate(artifact):
        if value_of(artifact) == 1:
            sys.exit(4)
        if value_of(artifact) == 2:
            hangs.hang()
        return -value_of(artifact)

    values = iter(range(1, 100))
    said = []

    class Told(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    logger, handler = logging.getLogger("dspy.teleprompt.dspy_gepa"), Told()
    logger.addHandler(handler)
    result = run(
        evaluate,
        reflection_lm=lambda _prompt: f"```\nvalue: {next(values)}\n```",
        max_evals=4,
        timeout_seconds=0.3,
    )
    logger.removeHandler(handler)
    assert (result.score, result.tally.metric_calls) == (0, 4)
    assert any("left behind" in text for text in said)


def test_a_reflection_that_always_fails_is_an_error():
    """After few calls, and not a success that returns the artifact as it was."""

    def model(prompt):
        raise RuntimeError("out of words")

    evaluate = Counted(value_of)
    with pytest.raises(ReflectionError, match="out of words"):
        run(evaluate, reflection_lm=model, max_evals=60)
    assert len(evaluate.calls) == 1


def test_a_model_that_repeats_itself_is_paid_once():
    """One text is one evaluation, and the run ends when nothing new comes."""
    evaluate = Counted(value_of)
    result = run(evaluate, reflection_lm=repeater, max_evals=50)
    assert [text for text, _ in evaluate.calls] == ["value: 0", "value: 7"]
    assert result.optimized_artifact == "value: 7"


# What is said


def test_what_is_logged_is_shown_to_the_model():
    """In the evaluation that logs it, also from a thread; and prints where that is asked for."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return climber()(prompt)

    def evaluate(artifact):
        thread = threading.Thread(target=lambda: log("from a thread"))
        thread.start()
        thread.join()
        print("printed words")  # noqa: T201
        log("several", 3, sep="-")
        return Feedback(value_of(artifact), "told words")

    usual, begin = sys.stdout, threading.Thread.start
    run(evaluate, reflection_lm=model, max_evals=3, capture_stdio=True)
    assert (sys.stdout, threading.Thread.start) == (usual, begin)
    for words in ("from a thread", "printed words", "several-3", "told words"):
        assert words in prompts[0]


def test_evaluations_at_once_do_not_hear_each_other():
    """Each one's prints and lines are its own."""

    def evaluate(artifact, example):
        for _ in range(50):
            log(f"line of {example}")
            print(f"print of {example}")  # noqa: T201
        return value_of(artifact)

    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return climber()(prompt)

    run(
        evaluate,
        dataset=list(range(6)),
        reflection_lm=model,
        max_evals=12,
        num_threads=6,
        capture_stdio=True,
        reflection_minibatch_size=1,
    )
    heard = {n for n in range(6) if f"line of {n}" in prompts[0] or f"print of {n}" in prompts[0]}
    assert len(heard) == 1


def test_outside_of_an_evaluation_log_prints(capsys):
    """An evaluator can be tried out by hand."""
    log("a", "b")
    assert capsys.readouterr().out == "a b\n"


# What is kept


def test_a_run_is_carried_on_where_it_was(tmp_path):
    """A finished run costs nothing again, and a larger budget goes on."""
    evaluate = Counted(value_of)
    first = run(evaluate, max_evals=6, log_dir=str(tmp_path))
    again = run(evaluate, max_evals=6, log_dir=str(tmp_path))
    assert len(evaluate.calls) == 6
    assert texts_of(first) == texts_of(again)
    more = run(evaluate, max_evals=10, log_dir=str(tmp_path))
    assert len(evaluate.calls) == 10
    assert texts_of(more)[:5] == texts_of(first)
    assert (tmp_path / "best_artifact.txt").read_text() == "value: 9"


def test_a_test_set_is_paid_once(tmp_path):
    """Its scores are in the directory as well."""
    evaluate = Counted(distance)
    given = {"dataset": [4], "valset": [5], "testset": [6, 7], "max_evals": 9}
    first = run(evaluate, **given, log_dir=str(tmp_path))
    calls = len(evaluate.calls)
    again = run(evaluate, **given, log_dir=str(tmp_path))
    assert len(evaluate.calls) == calls
    assert (again.test.difference, again.test.evaluations) == (first.test.difference, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 3}, "seed"),
        ({"artifact": "value: 1"}, "component artifact"),
        ({"dataset": [3, 9, 12, 21]}, "training examples"),
        ({"failure_score": -1.0}, "settings.lowest_score"),
        ({"perfect_score": 0.0}, "settings.perfect_score"),
        ({"reflection_minibatch_size": 1}, "settings.sampler"),
    ],
)
def test_the_directory_of_another_run_is_refused(tmp_path, change, said):
    """With what differs, and before anything is paid for."""
    run(distance, dataset=TARGETS, max_evals=8, log_dir=str(tmp_path))
    evaluate = Counted(distance)
    evaluate.__name__ = "distance"
    given = {"artifact": "value: 0", "dataset": TARGETS, **change}
    with pytest.raises(JournalMismatch, match=said):
        run(evaluate, **given, max_evals=8, log_dir=str(tmp_path))
    assert evaluate.calls == []


def test_another_evaluator_is_refused_by_its_name(tmp_path):
    """That is all that can be seen of it."""
    run(distance, dataset=TARGETS, max_evals=8, log_dir=str(tmp_path))
    with pytest.raises(JournalMismatch, match="metric"):
        run(lambda a, b: 0, dataset=TARGETS, max_evals=8, log_dir=str(tmp_path))


def test_several_texts_are_kept_as_a_table(tmp_path):
    """In the artifact's order."""
    run(
        lambda texts: sum(map(value_of, texts.values())),
        {"b": "value: 0", "a": "value: 0"},
        max_evals=4,
        log_dir=str(tmp_path),
        reflection_lm=grower,
    )
    kept = json.loads((tmp_path / "best_artifact.json").read_text())
    assert list(kept) == ["b", "a"]


KILLED = """
import itertools, os
from artifact_worlds import climber, value_of
from dspy_gepa import optimize_anything
calls = itertools.count(1)
def value(artifact):
    number = next(calls)
    open({log!r}, "a").write(artifact + chr(10))
    if number == {killed}:
        os.kill(os.getpid(), 9)
    return value_of(artifact)
result = optimize_anything("value: 0", value, reflection_lm=climber(), max_evals=12,
                           log_dir={folder!r}, window=2, num_threads=2)
print([dict(each.candidate) for each in result.proposals])
"""


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, warm_python):
    """The same proposals as without the kill, and nothing that was answered is paid again."""

    def execute(killed):
        log, folder = str(tmp_path / "log"), str(tmp_path / "run")
        return warm_python.run(KILLED.format(log=log, folder=folder, killed=killed))

    # In this process, where strings hash differently than in those that are begun.
    settings = {"reflection_lm": climber(), "max_evals": 12, "window": 2, "num_threads": 2}
    whole = optimize_anything("value: 0", value_of, **settings)
    expected = [dict(each.candidate) for each in whole.proposals]
    assert execute(7).returncode == -signal.SIGKILL
    found = ast.literal_eval(execute(0).stdout)
    # What had begun when the kill came counts as spent, so that the last ones may be others.
    enough = len(expected) // 2
    assert found[:enough] == expected[:enough]
    assert len(found) >= enough
    lines = (tmp_path / "log").read_text().split("\n")
    # Only what was under way when the kill came may be evaluated twice.
    assert len(lines) - len(set(lines)) <= 2


def test_a_run_goes_on_from_whatever_of_its_journal_is_left(tmp_path):
    """Cut off after any event: the same proposals, and nothing that was answered is asked again.

    With a first artifact that is written, replies that are repaired and texts that are sent back.
    """

    def model(prompt):
        if "(there is none yet)" in prompt:
            return "I had rather not."  # repaired
        if "I had rather not" in prompt:
            return "```\nvalue: 3\n```"
        return climber()(prompt)

    def evaluate(artifact):
        if value_of(artifact) % 2:
            raise ValueError("odd")
        return value_of(artifact)

    def once(folder):
        counted, asked = Counted(evaluate), []
        counted.__name__ = "evaluate"

        def counting(prompt):
            asked.append(prompt)
            return model(prompt)

        counting.__qualname__ = "model"
        result = run(
            counted, None, objective="Grow.", reflection_lm=counting, max_evals=7, log_dir=folder
        )
        return texts_of(result), result.tally, len(counted.calls), len(asked)

    whole = once(str(tmp_path / "whole"))
    assert whole[2:] == (7, whole[1].reflection_calls)
    lines = (tmp_path / "whole" / "events.jsonl").read_text().splitlines(keepends=True)
    answers = [line for line in lines if '"rolled_out"' in line or '"reflected"' in line]
    assert len(answers) == whole[2] + whole[3]
    for kept in range(1, len(lines), 1 if THOROUGH else 3):
        folder = tmp_path / f"cut{kept}"
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "events.jsonl").write_text("".join(lines[:kept]))
        again = once(str(folder))
        assert again[0] == whole[0][: len(again[0])], kept
        # What had begun where it is cut off counts as spent, and is asked for again.
        done = sum('"rolled_out"' in line for line in lines[:kept])
        assert done + again[2] <= again[1].metric_calls <= 7, kept
        asked = sum('"reflected"' in line for line in lines[:kept])
        assert asked + again[3] <= again[1].reflection_calls, kept


def test_a_model_may_think_longer_than_an_evaluation_may_take(hangs):
    """The limit is that of an evaluation."""
    result = run(value_of, max_evals=2, timeout_seconds=1)
    assert (result.score, hangs.limits_seconds) == (1.0, [1, 900, 1])


def test_the_first_ctrl_c_returns_the_best_so_far():
    """What was found is not lost."""
    calls = []

    def evaluate(artifact):
        calls.append(artifact)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return value_of(artifact)

    result = run(evaluate, max_evals=50)
    assert "keyboard" in result.stop_reason
    # A slow machine may hear of it later.
    assert result.score == max(map(value_of, calls)) >= 4.0


# Bad input


def unused(artifact, example=None):
    raise AssertionError("it must not be called")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"evaluator": None}, "No evaluator"),
        ({"evaluator": 3}, "function is needed"),
        ({"evaluator": lambda artifact, example: 0}, "Give a dataset"),
        ({"evaluator": lambda artifact: 0, "dataset": [1]}, "no dataset"),
        ({"artifact": ""}, "no text"),
        ({"artifact": " \n"}, "no text"),
        ({"artifact": {}}, "no text"),
        ({"artifact": {"a": "", "b": " "}}, "no text"),
        ({"artifact": {"a": 3}}, "text is needed"),
        ({"artifact": 3}, "text is needed"),
        ({"artifact": "a", "seed_candidate": "b"}, "mean the same"),
        ({"artifact": None}, "Neither an artifact nor an objective"),
        ({"artifact": None, "objective": " "}, "Neither an artifact nor an objective"),
        ({"dataset": []}, "dataset is empty"),
        ({"dataset": "abc"}, "list of examples"),
        ({"dataset": {"a": 1}}, "list of examples"),
        ({"dataset": 3}, "list of examples"),
        ({"dataset": [1], "valset": []}, "valset is empty"),
        ({"valset": [1]}, "no dataset to learn from"),
        ({"testset": [1]}, "no dataset"),
        ({"testset": [1], "test_set": [1], "dataset": [1]}, "mean the same"),
        ({"mode": "single"}, "single_task"),
        ({"mode": "single_task", "dataset": [1]}, "needs no dataset"),
        ({"mode": "multi_task"}, "needs a dataset"),
        ({"mode": "multi_task", "dataset": [1], "valset": [2]}, "no valset"),
        ({"mode": "generalization", "dataset": [1]}, "a valset"),
        ({"max_evals": 0}, "1 is the lowest"),
        ({"max_evals": 2.5}, "whole number"),
        ({"max_evals": True}, "whole number"),
        ({"max_cost": 0}, "above 0"),
        ({"max_cost": 1.0}, "^max_cost=1.0 .* cannot be counted"),
        ({"num_threads": 0}, "num_threads"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"isolation": "docker"}, "process"),
        ({"memory_mb": 100}, "isolation"),
        ({"isolation": "process", "memory_mb": 0}, "1 is the lowest"),
        ({"objective": 3}, "text is needed"),
        ({"checks": len}, "list of functions"),
        ({"checks": [lambda: 0]}, "called with a text"),
        ({"repairs": -1}, "0 is the lowest"),
        ({"failure_score": float("nan")}, "failure_score"),
        ({"reflection_lm": 3}, "reflection LM"),
        ({"max_eval": 3}, "max_evals"),
        ({"batch_evaluator": len}, "num_threads"),
        ({"frozen": ["artifact"]}, "nothing is left"),
        ({"frozen": ["nothing"]}, "the components are"),
        ({"config": 3}, "dict of dicts"),
        ({"config": {"engine": {"max_metric_call": 3}}}, "max_metric_calls"),
        ({"config": {"engine": {"max_reflection_cost": 3}}}, "max_cost"),
    ],
)
def test_bad_input_is_told_before_anything_is_called(given, said, tmp_path):
    """Neither evaluator nor model, and nothing is written."""
    asked = []
    arguments = {
        "artifact": "value: 0",
        "evaluator": unused,
        "reflection_lm": asked.append,
        "log_dir": str(tmp_path / "run"),
        **given,
    }
    with pytest.raises(SettingsError, match=said):
        optimize_anything(**arguments)
    assert asked == []
    assert not (tmp_path / "run").exists()


def test_no_model_to_reflect_with_is_told_before_anything_is_called(tmp_path):
    """Where none is given and DSPy has none."""
    with dspy.context(lm=None), pytest.raises(SettingsError, match="no model to reflect with"):
        optimize_anything("value: 0", unused, log_dir=str(tmp_path / "run"))


def test_nothing_is_written_but_where_it_is_asked_for(tmp_path, monkeypatch):
    """Neither in the working directory nor in the home directory."""
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run(value_of, max_evals=3, isolation="process", capture_stdio=True)
    assert [*(tmp_path / "work").iterdir(), *(tmp_path / "home").iterdir()] == []


class Silent(dspy.BaseLM):
    """A model that does not say how many tokens it took."""

    def __init__(self):
        super().__init__("silent", "chat", 0.0, 100, cache=False)

    def forward(self, prompt=None, messages=None, **_):
        message = SimpleNamespace(content="5", tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop", index=0)
        return SimpleNamespace(choices=[choice], usage={}, model="silent")


@pytest.mark.filterwarnings("ignore:Implementing custom LMs")
def test_a_limit_in_tokens_is_no_limit_for_a_model_that_reports_none():
    """So the run stops at its first call, and says which model it was."""

    def judged(artifact, example):
        return float(dspy.settings.lm("How good is it?")[0])

    with dspy.context(lm=Silent()), pytest.raises(WorkerError, match="silent"):
        run(judged, dataset=TARGETS, max_evals=8, max_total_tokens=1_000, reflection_lm=Silent())


@pytest.mark.parametrize(
    "settings", [{}, {"dataset": [1, 2, 3, 4]}, {"dataset": [1, 2, 3], "valset": [4, 5]}], ids=str
)
def test_a_result_can_be_pickled(settings):
    """Though evaluator and model are functions of the call's own."""

    def near(artifact, example=9):
        return -abs(value_of(artifact) - example)

    result = run(near, reflection_lm=climber(), max_evals=12, **settings)
    back = pickle.loads(pickle.dumps(result))
    assert repr(back) == repr(result)
    assert back.optimized_artifact == result.optimized_artifact
    assert back.to_dict() == result.to_dict()
